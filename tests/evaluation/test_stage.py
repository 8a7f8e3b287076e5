"""The stage from shards and weights to report, and the promises it makes about them."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
from stage_runs import run_stage_inprocess

from cookhouse.stages.evaluate import Evaluate, evaluate_models
from model.checkpoint import load_model
from model.evaluation.pictures import shown_pictures
from model.evaluation.plan import choose_reading, reading_chunks
from model.evaluation.predictions import RegionRow
from model.evaluation.tasks import by_line
from model.pack import pack
from pipelines.core.errors import DataError
from pipelines.core.events import read_events
from pipelines.shards.index import ShardIndex
from pipelines.shards.read import decode_parts, read_sample

CONFIG = Evaluate(max_new_tokens=8, batch_size=4, gallery=2, bootstrap_draws=1000)


@pytest.fixture(scope="module")
def result(inputs, tmp_path_factory):
    return run_stage_inprocess(evaluate_models, CONFIG, inputs, tmp_path_factory.mktemp("store"))


def test_the_report_holds_every_level_mode_and_model(result):
    report = json.loads(result.path("report.json").read_text())
    assert set(report["reading"]) == {"low", "moderate", "high", "all"}
    assert report["reading"]["all"]["regions"] == 8
    assert report["reading"]["low"]["regions"] == 5
    for mode in ("short", "long"):
        assert set(report["questions"][mode]["models"]) == {"sft", "rl-seed-0", "rl-seed-1"}
        assert report["questions"][mode]["gain"]["items"] == 5
        assert report["questions"][mode]["gain"]["seeds"] == 2
    assert [bar["shown"] for bar in report["bars"]] == [False] * 4
    assert all(bar["why"] for bar in report["bars"])
    assert result.stats["main_metric"][0] == "cer_low"
    assert result.stats["metrics"]["eval/bars_shown"] == 0.0
    assert result.path("report.html").read_text().count("<figure>") == 4


def test_progress_counts_pictures_then_chunks_from_the_first(result):
    (events,) = result.root.glob("attempts/*/logs/events.jsonl")
    told = [event for event in read_events(events) if event["kind"] == "progress"]
    for unit, total in (("pictures", 7), ("chunks", result.stats["chunks"])):
        counts = [(event["done"], event["total"]) for event in told if event["unit"] == unit]
        assert counts == [(done, total) for done in range(total + 1)]


def test_only_test_samples_of_the_chosen_family_are_read(result):
    rows = [RegionRow(**row) for row in pq.read_table(result.path("predictions/reading.parquet")).to_pylist()]
    assert {row.key for row in rows} == {f"card-{i}" for i in (1, 2, 5, 7, 8)}  # those of ten with a low region
    assert {row.picture for row in rows} == {"right", "wrong"}
    assert all((row.key == row.picture_key) == (row.picture == "right") for row in rows)
    answers = pq.read_table(result.path("predictions/questions.parquet")).to_pylist()
    assert {row["key"] for row in answers} == {f"q-{i}-{mode}" for i in range(5) for mode in ("short", "long")}


def test_a_sample_of_another_split_is_refused(inputs):
    refs = ShardIndex.from_artifacts([inputs["documents"]]).refs
    with pytest.raises(DataError, match="only the test split"):
        choose_reading(refs, ("card",), 10, 0)


def test_without_test_documents_questions_are_still_answered(inputs, tmp_path):
    config = CONFIG.model_copy(update={"families": ("scan",)})
    result = run_stage_inprocess(evaluate_models, config, inputs, tmp_path)
    report = json.loads(result.path("report.json").read_text())
    assert report["reading"] == {}
    assert set(report["questions"]) == {"short", "long"}
    cer = report["bars"][0]
    assert (cer["name"], cer["shown"], cer["value"]) == ("cer_low", False, None)
    assert "0 low regions" in cer["why"]
    assert "not shown" in result.path("report.html").read_text()


def test_one_page_alone_is_read_without_a_wrong_picture(inputs):
    refs = [ref for ref in ShardIndex.from_artifacts([inputs["documents"]]).refs if ref.split == "test"]
    chosen = choose_reading(refs, ("card",), 10, 0)
    alone = replace(chosen, refs=chosen.refs[:1], lines=chosen.lines[:1])
    chunks = list(reading_chunks(alone, "sft", "m", 4, output="x-{unit}", max_new_tokens=8))
    assert [chunk.picture for chunk in chunks] == ["right"]


def test_a_later_attempt_adopts_the_chunks_that_were_finished(inputs, tmp_path, monkeypatch):
    from model.evaluation import tasks

    real, calls = tasks.run_chunk, []

    def dies_at_the_third(chunk):
        calls.append(chunk.unit)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(chunk)

    monkeypatch.setattr(tasks, "run_chunk", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_stage_inprocess(evaluate_models, CONFIG, inputs, tmp_path)
    again = run_stage_inprocess(evaluate_models, CONFIG, inputs, tmp_path)
    assert len(calls) == len(set(calls)) + 1 == again.stats["chunks"] + 1


def test_without_rl_there_is_no_gain(inputs, tmp_path):
    alone = {name: artifact for name, artifact in inputs.items() if name != "rl"}
    report = json.loads(run_stage_inprocess(evaluate_models, CONFIG, alone, tmp_path).path("report.json").read_text())
    assert list(report["questions"]["short"]["models"]) == ["sft"]
    assert "gain" not in report["questions"]["short"]


def test_teacher_forced_figures_equal_a_plain_forward_pass(result, inputs):
    model, processor = load_model(inputs["sft"].path("model"))
    rows = [RegionRow(**row) for row in pq.read_table(result.path("predictions/reading.parquet")).to_pylist()]
    row = next(row for row in rows if row.key == "card-2" and row.picture == "right")
    (ref,) = [ref for ref in ShardIndex.from_artifacts([inputs["documents"]]).refs if ref.key == "card-2"]
    parts = decode_parts(read_sample(ref))
    with torch.inference_mode():
        supervised = model(pack([processor.encode(parts["json"]["messages"], parts, "none")]))
    head = len("1: ")
    text = slice(head, head + len("word2"))
    assert bytes(supervised.targets[text].tolist()) == b"word2"
    assert row.forced_chars == 5
    assert row.forced_nll == pytest.approx(-supervised.logprobs()[text].sum().item(), rel=1e-4)
    assert row.forced_correct == (supervised.logits.argmax(-1) == supervised.targets)[text].sum().item()


def test_target_tokens_are_gathered_by_line_number():
    tokens = [
        ("1", 9.0, True),
        (": ", 9.0, True),
        ("re", 2.0, True),
        ("d\n", 1.0, False),
        ("2:", 9.0, True),
        (" x", 4.0, True),
    ]
    assert by_line(tokens) == {1: (2.5, 2, 3), 2: (2.0, 1, 1)}


def test_a_wrong_picture_takes_the_name_the_sample_asks_for():
    sample = {
        "messages": [{"role": "user", "content": [{"type": "image", "part": "jpg"}, {"type": "text", "text": "Read."}]}]
    }
    assert shown_pictures(sample, {"png": "other"}) == {"jpg": "other"}
    with pytest.raises(DataError, match="asks for pictures"):
        shown_pictures(sample, {"a.jpg": 1, "b.jpg": 2})
