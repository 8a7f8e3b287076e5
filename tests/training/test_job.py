"""Whole jobs through the launchers: from shards to a model folder, killed and resumed."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import pytest
import tiny
import torch
from safetensors.torch import save_file
from tiny import changed

from model.checkpoint import load_model
from model.training import loop
from model.training.engine import TorchEngine
from model.training.job import Job
from model.training.launch import launch
from model.training.loader import Loaded
from model.training.phases import PREFIX
from model.training.progress import Cursor, Meter
from model.training.saver import Saver
from model.weights import read_weights
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.events import read_events


def progress_of(job: Job) -> list[tuple[int, int, str]]:
    told = [event for event in read_events(job.events) if event["kind"] == "progress"]
    return [(event["done"], event["total"], event["unit"]) for event in told]


def metrics_of(job: Job) -> dict[int, dict[str, float]]:
    return {event["step"]: event["values"] for event in read_events(job.events) if event["kind"] == "metric"}


def test_two_phases_run_from_shards_to_a_model_folder(job: Job) -> None:
    totals = launch("local", job)
    assert totals["total_steps"] == 10
    assert totals["skipped_samples"] > 0  # the broken picture is counted, not trained on
    assert totals["samples"] > 20
    model, processor = load_model(job.folder / "model")
    assert sum(p.numel() for p in model.parameters()) > 0
    assert processor.decode(processor.tokenizer.encode("oat")) == "oat"
    lines = metrics_of(job)
    assert sorted(lines) == list(range(1, 11))
    assert lines[10]["train/phase"] == 1
    assert lines[10]["train/samples"] == totals["samples"]


def test_progress_is_told_at_every_step_and_counts_all_phases(job: Job) -> None:
    launch("local", changed(job, log_every=100))
    first, second = (f"steps ({phase.name})" for phase in job.config.phases)
    steps = job.config.phases[0].steps
    assert progress_of(job) == [(done, 10, first) for done in range(steps + 1)] + [
        (done, 10, second) for done in range(steps, 11)
    ]
    assert len(metrics_of(job)) < 10, "figures come now and then only"


def test_a_part_that_is_not_trained_stays_byte_identical(job: Job) -> None:
    launch("local", changed(job, phases=job.config.phases[:1]))
    trained = read_weights(job.folder / "model")
    start = job.model.model(tiny.CONFIG, job.config.seed).state_dict()
    for name, value in start.items():
        same = torch.equal(trained[name], value)
        assert same != name.startswith(PREFIX["resampler"]), name


def test_a_killed_job_resumes_to_the_same_bytes(job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    whole = changed(job, folder=tmp_path / "whole", events=tmp_path / "whole.jsonl")
    whole.folder.mkdir()
    expected = launch("local", whole)

    taken = 0
    step = loop.learning_rate

    def dies(*arguments):
        nonlocal taken
        taken += 1
        if taken == 8:  # in the middle of the second phase, after its checkpoint at step 2
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(loop, "learning_rate", dies)
    with pytest.raises(KeyboardInterrupt):
        launch("local", job)
    monkeypatch.setattr(loop, "learning_rate", step)
    before = len(progress_of(job))
    later = changed(job, folder=tmp_path / "later", roots=(job.folder / "checkpoints",))
    later.folder.mkdir()
    totals = launch("local", later)
    for name in ("total_steps", "samples", "tokens", "losses"):
        assert totals[name] == expected[name], name
    first, second = read_weights(whole.folder / "model"), read_weights(later.folder / "model")
    assert all(torch.equal(first[name], second[name]) for name in first)
    notes = [event["text"] for event in read_events(job.events) if event["kind"] == "note"]
    assert "resumed at phase all, step 2 of 6" in notes
    assert progress_of(job)[before] == (6, 10, "steps (all)"), "the count goes on from the checkpoint"


def test_a_checkpoint_without_manifest_or_of_another_job_is_not_read(job: Job, tmp_path) -> None:
    launch("local", job)
    older, newest = sorted((job.folder / "checkpoints").glob("step-*"))
    manifest = json.loads((newest / "checkpoint.json").read_text())
    (newest / "checkpoint.json").write_text(json.dumps({**manifest, "fingerprint": "another"}))
    (older / "checkpoint.json").unlink()
    again = changed(job, events=tmp_path / "again.jsonl")
    assert launch("local", again)["total_steps"] == 10
    assert not any("resumed" in event.get("text", "") for event in read_events(again.events))


def test_a_changed_checkpoint_file_is_refused(job: Job) -> None:
    launch("local", job)
    older, newest = sorted((job.folder / "checkpoints").glob("step-*"))
    file = newest / "torch.pt"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="changed after it was written"):
        launch("local", job)
    shutil.rmtree(newest)  # what the message says: training goes on from the one before
    assert launch("local", job)["total_steps"] == 10
    notes = [event.get("checkpoint") for event in read_events(job.events) if event["kind"] == "note"]
    assert str(older) in notes


def test_the_furthest_checkpoints_are_kept_and_half_written_ones_are_not_counted(tmp_path) -> None:
    """A crash that left half of a checkpoint must not cost the whole one before; a million sorts behind 999,999."""
    saver, engine = Saver(tmp_path, keep=2), TorchEngine(tiny.tiny_model(), ("resampler",))
    (tmp_path / "step-1000001").mkdir()
    for steps in (100, 999_999, 1_000_000):
        saver.save(engine, Cursor(total_steps=steps), Meter())
    assert sorted(path.parent.name for path in tmp_path.glob("*/checkpoint.json")) == ["step-1000000", "step-999999"]
    found = saver.newest(engine)
    assert found is not None and found[0].name == "step-1000000"


def test_a_skipped_step_does_not_make_the_mean_loss_of_its_line_no_number() -> None:
    meter, engine = Meter(), TorchEngine(tiny.tiny_model(), ("resampler",))
    pack = Loaded(tiny.packs([[1]])[0], 0, 1, 10, 4, 4, ())
    for loss in (8.0, float("nan"), 4.0):
        meter.count(pack, loss)
    assert meter.read(engine, 1.0)["train/loss"] == 12.0 / 8
    meter.count(pack, float("nan"))
    assert math.isnan(meter.read(engine, 1.0)["train/loss"])
    assert meter.losses == [1.5]


def test_broken_samples_fail_the_run_when_asked(job: Job) -> None:
    with pytest.raises(DataError, match="document-003"):
        launch("local", changed(job, on_error="fail"))


def test_prefetching_changes_nothing(job: Job, tmp_path) -> None:
    plain = launch("local", changed(job, checkpoint_every=0))
    (tmp_path / "other").mkdir()
    ahead = launch("local", changed(job, folder=tmp_path / "other", prefetch=True, checkpoint_every=0))
    assert plain["losses"] == ahead["losses"]


def test_a_run_without_finite_gradients_ends_with_a_clear_message(job: Job, monkeypatch) -> None:
    monkeypatch.setattr(loop, "token_loss", lambda supervised, total: supervised.logits.sum() * float("nan"))
    with pytest.raises(DataError, match="5 steps in a row had no finite gradient"):
        launch("local", job)
    assert metrics_of(job)[4]["train/skipped_steps"] == 4


def test_pretrained_towers_enter_and_the_resampler_is_fresh(job: Job, tmp_path) -> None:
    state = {name: value.clone() for name, value in tiny.tiny_model(seed=5).state_dict().items()}
    for part, prefix in (("vision", "vpm."), ("language", "llm.")):
        save_file({n: v for n, v in state.items() if n.startswith(prefix)}, tmp_path / f"{part}.safetensors")
    source = changed(job.model, vision=tmp_path / "vision.safetensors", language=tmp_path / "language.safetensors")
    model, processor = source.model(tiny.CONFIG, 0), source.processor(tmp_path)
    assert all(
        torch.equal(value, state[n]) for n, value in model.state_dict().items() if not n.startswith("resampler.")
    )
    assert not torch.equal(model.resampler.query, state["resampler.query"])
    assert processor.config == tiny.CONFIG
    with pytest.raises(ConfigError, match="both a vision and a language file"):
        replace(source, language=None).model(tiny.CONFIG, 0)


def test_plain_torch_is_one_process_and_torchrun_needs_its_variables(job: Job, monkeypatch) -> None:
    with pytest.raises(ConfigError, match="one process"):
        launch("local", changed(job, world_size=2))
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="torchrun"):
        launch("torchrun", job)
