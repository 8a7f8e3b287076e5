from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from stage_runs import plain_folder, run_stage_inprocess

from cookhouse.stages.questions import QuestionShards, build_question_shards
from pipelines.core.errors import DataError
from pipelines.shards.index import ShardIndex
from pipelines.shards.inspect import rows
from pipelines.shards.read import decode_parts, read_sample
from pipelines.shards.verify import verify
from pipelines.text.questions import read_questions
from pipelines.workflow.artifact import Artifact
from toy.corpus.cards import write_cards


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    directory = tmp_path_factory.mktemp("corpus")
    listed = write_cards(directory, 0, 60, 20)
    (directory / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    return plain_folder(directory, "corpus")


@pytest.fixture(scope="module")
def made(corpus: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run_stage_inprocess(
        build_question_shards, QuestionShards(), {"sources": corpus}, tmp_path_factory.mktemp("s")
    )


def test_each_item_occurs_once_a_mode_over_the_same_page(made: Artifact) -> None:
    index = ShardIndex.from_artifacts([made])
    assert Counter((ref.split, ref.tags[0]) for ref in index.refs) == {
        ("train", "short"): 60, ("train", "long"): 60, ("test", "short"): 20, ("test", "long"): 20,
    }  # fmt: skip
    assert verify(made) == []
    pairs: dict[str, list] = {}
    for ref in index.refs:
        pairs.setdefault(ref.key.rsplit("-", 1)[0], []).append((ref, read_sample(ref)))
    for (short_ref, short), (long_ref, long) in pairs.values():
        assert short["jpg"] == long["jpg"]
        a, b = json.loads(short["json"]), json.loads(long["json"])
        assert (a["mode"], b["mode"], a["kind"]) == ("short", "long", "question")
        assert a["messages"][0] == b["messages"][0]
        assert a["meta"] == b["meta"]
        assert "thought" not in a["messages"][1]
        assert b["messages"][1]["thought"]
        assert a["messages"][1]["content"] == b["messages"][1]["content"] == a["meta"]["answer"]
        assert a["meta"]["family"] == "card"
        assert a["meta"]["verifier"] == ("exact" if a["meta"]["question_kind"] == "read" else "number")
        assert (short_ref.width, short_ref.height) == (long_ref.width, long_ref.height) == (224, 112)


def test_cards_are_drawn_as_they_are(made: Artifact) -> None:
    ref = ShardIndex.from_artifacts([made]).refs[0]
    picture = decode_parts(read_sample(ref))["jpg"].convert("L")
    low, high = picture.getextrema()
    assert picture.size == (224, 112)
    assert low < 130
    assert high > 215


def test_the_limit_counts_per_split_and_families_select(corpus: Artifact, tmp_path: Path) -> None:
    made = run_stage_inprocess(
        build_question_shards, QuestionShards(limit=5, modes=("short",)), {"sources": corpus}, tmp_path
    )
    assert Counter(row.split for row in rows(made)) == {"train": 5, "test": 5}
    with pytest.raises(DataError, match="none of 80 question items"):
        run_stage_inprocess(build_question_shards, QuestionShards(families=("page",)), {"sources": corpus}, tmp_path)


def test_bad_pages_and_missing_files_cost_their_rows_only(corpus: Artifact, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "good.pdf").write_bytes(corpus.path("documents/cards-test-000.pdf").read_bytes())
    (folder / "bad.pdf").write_text("<html>")
    items = [
        {"file": "good.pdf", "page": 1, "question": "Read.", "answer": "x"},
        {"file": "good.pdf", "page": 99, "question": "Read.", "answer": "x"},
        {"file": "good.pdf", "page": 2, "question": "Read.", "answer": "x", "thought": "easy"},
        {"file": "good.pdf", "page": 2, "question": "Count.", "answer": "-3.5", "thought": "hard"},
        {"file": "bad.pdf", "question": "Read.", "answer": "x"},
        {"file": "none.png", "question": "Read.", "answer": "x"},
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    config = QuestionShards(source=str(folder), max_quarantine_share=1.0)
    made = run_stage_inprocess(build_question_shards, config, {}, tmp_path / "store")
    found = [(row.source, row.item, row.tags[0], row.status, row.category) for row in rows(made)]
    assert Counter(found) == Counter(
        [
            ("bad.pdf", 0, "short", "quarantined", "parse"),
            ("bad.pdf", 0, "long", "quarantined", "parse"),
            ("good.pdf", 1, "short", "ok", None),
            ("good.pdf", 1, "long", "filtered", "empty_text"),
            ("good.pdf", 2, "short", "ok", None),
            ("good.pdf", 2, "long", "ok", None),
            ("good.pdf", 2, "short", "ok", None),
            ("good.pdf", 2, "long", "ok", None),
            ("good.pdf", 99, "short", "quarantined", "render"),
            ("good.pdf", 99, "long", "quarantined", "render"),
            ("none.png", 0, "short", "quarantined", "source_unavailable"),
            ("none.png", 0, "long", "quarantined", "source_unavailable"),
        ]
    )


@pytest.mark.parametrize(
    "row",
    [
        '{"file": "a"}',
        "{",
        '{"file": "a", "question": " ", "answer": "b"}',
        '{"file": "a", "page": "x", "question": "q", "answer": "b"}',
    ],
)
def test_a_broken_table_names_its_line(tmp_path: Path, row: str) -> None:
    (tmp_path / "t.jsonl").write_text('\n{"file": "a", "question": "q", "answer": 4}\n' + row)
    with pytest.raises(DataError, match="line 3"):
        read_questions(tmp_path / "t.jsonl")
