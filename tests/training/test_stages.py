"""The stages ``pretrain`` and ``sft`` as the workflow calls them, from shard artifacts to a model artifact."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from stage_runs import plain_folder

from cookhouse.stages import STAGES, training
from cookhouse.stages.training import FineTune, Pretrain, fine_tune, pretrain
from model.checkpoint import load_model
from model.training.phases import Schedule
from model.training.saver import Saver
from pipelines.core import storage
from pipelines.core.errors import DataError
from pipelines.core.events import read_events
from pipelines.core.identity import identity_of
from pipelines.workflow.stage import Artifact, Attempt, Inputs, load_stage
from pipelines.workflow.store import Store

PLAIN = {"world_size": 1, "zero_stage": None, "precision": "fp32", "max_skipped_share": 0.5}


@pytest.fixture
def shards(folders) -> tuple[Artifact, ...]:
    return tuple(plain_folder(folder.root, name) for name, folder in folders.items())


def attempt(folder: Path) -> Attempt:
    folder.mkdir()
    return Attempt(folder, folder)


def test_pretrain_then_sft_from_its_model(shards, tmp_path: Path) -> None:
    first, second = attempt(tmp_path / "one"), attempt(tmp_path / "two")
    config = Pretrain(model=tiny.CONFIG, phases=tiny.PHASES, **PLAIN)
    stats = pretrain(config, Inputs({"shards": shards}), first)
    assert stats["optimizer_steps"] == 10
    assert stats["main_metric"][0] == "loss"
    assert stats["metrics"]["train/tokens"] > 0
    assert sorted(first.results()) == [
        f"model/{name}"
        for name in (
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        )
    ], "checkpoints are gone, only the model is the result"
    made = plain_folder(first.dir, "pretrain")
    tuned = fine_tune(FineTune(phases=tiny.PHASES[1:], **PLAIN), Inputs({"model": (made,), "shards": shards}), second)
    assert tuned["optimizer_steps"] == 6
    assert tuned["main_metric"][1] < stats["main_metric"][1], "it starts from the trained weights"
    load_model(second.dir / "model")


def test_too_many_broken_samples_fail_the_step(shards, tmp_path: Path) -> None:
    config = Pretrain(model=tiny.CONFIG, phases=tiny.PHASES, **(PLAIN | {"max_skipped_share": 0.0}))
    with pytest.raises(DataError, match="could not be used"):
        pretrain(config, Inputs({"shards": shards}), attempt(tmp_path / "one"))


def test_how_a_gang_is_started_never_enters_the_key() -> None:
    config = Pretrain(model=tiny.CONFIG, phases=tiny.PHASES)
    other = Pretrain(
        model=tiny.CONFIG, phases=tiny.PHASES, launcher="local", log_every=1, checkpoint_every=7, threads=4
    )
    assert identity_of(config) == identity_of(other)
    assert identity_of(config) != identity_of(Pretrain(model=tiny.CONFIG, phases=tiny.PHASES, world_size=4))
    with pytest.raises(ValidationError, match="at least 1 item"):
        FineTune(phases=())


def test_both_stages_are_listed() -> None:
    assert load_stage(STAGES["pretrain"]).name == "pretrain"
    assert load_stage(STAGES["sft"]).deterministic == "numbers"


class Died(Exception):
    """Stands for a machine that went away."""


@pytest.mark.parametrize("lost", [False, True])
def test_a_resume_from_a_bucket_fetches_the_newest_checkpoint_only(
    lost: bool, shards, s3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three checkpoints were carried up before the machine died; with a file of the newest lost, the one before is taken."""
    arrived, real = threading.Event(), (Saver.write_manifest, Attempt.commit_unit)

    def commit_unit(self: Attempt, unit: str, receipt: dict[str, Any]) -> None:
        real[1](self, unit, receipt)
        arrived.set()

    def write_manifest(self: Saver, folder: Path, cursor: Any, *job: Any) -> None:
        arrived.clear()
        real[0](self, folder, cursor, *job)
        assert arrived.wait(60), "it is not carried up"
        if cursor.total_steps == 6:
            raise Died

    monkeypatch.setattr(training, "CHECKPOINT_LOOK_S", 0.01)
    monkeypatch.setattr(Attempt, "commit_unit", commit_unit)
    monkeypatch.setattr(Saver, "write_manifest", write_manifest)
    store = Store("s3://kitchen/root")
    folder = store.folder("pretrain", "pretrain", "0" * 64)
    config = Pretrain(model=tiny.CONFIG, phases=tiny.PHASES, checkpoint_every=2, **PLAIN)
    first = store.begin(folder)
    with pytest.raises(Died):
        pretrain(config, Inputs({"shards": shards}), first)
    monkeypatch.setattr(Saver, "write_manifest", real[0])
    units = sorted(first.units())
    assert units == [f"checkpoint-step-00000{number}" for number in (2, 4, 6)]
    if lost:
        storage.delete(first.place / "checkpoints" / "step-000006" / "random-0.pt")

    s3.requests.clear()
    second = store.begin(folder)
    stats = pretrain(config, Inputs({"shards": shards}), second)
    assert stats["optimizer_steps"] == 10
    fetched = [path for method, path in s3.requests if method == "GET" and "/checkpoints/" in path]
    taken = "step-000004" if lost else "step-000006"
    assert len([path for path in fetched if taken in path]) == len(first.units()[f"checkpoint-{taken}"]["state"])
    assert not [path for path in fetched if "step-000002" in path or (not lost and taken not in path)]
    notes = [event["text"] for event in read_events(second.dir / "logs" / "events.jsonl") if event["kind"] == "note"]
    assert ("resumed at phase align, step 4 of 4" if lost else "resumed at phase all, step 2 of 6") in notes


def test_pretraining_starts_from_weights_of_a_step(shards, tmp_path: Path) -> None:
    """A rate of nothing keeps what it starts from; a weight the model does not have is named."""
    query, file = torch.full((4, 128), 0.25), tmp_path / "reading" / "start.safetensors"
    file.parent.mkdir()
    still = tuple(p.model_copy(update={"schedule": Schedule(kind="constant", lr=1e-12, warmup=0)}) for p in tiny.PHASES)
    config = Pretrain(model=tiny.CONFIG, phases=still, **PLAIN)

    def run(name: str) -> Attempt:
        save_file({name: query}, file)
        out = attempt(tmp_path / name)
        start = plain_folder(file.parent, "reading")
        pretrain(config, Inputs({"shards": shards, "start": (start,)}, {}), out)
        return out

    begun = load_model(run("resampler.query").dir / "model")[0]
    assert torch.allclose(begun.resampler.query, query, atol=1e-6)
    with pytest.raises(DataError, match="1 unknown"):
        run("resampler.quarry")
