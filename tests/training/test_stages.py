"""The stages ``pretrain`` and ``sft`` as the workflow calls them, from shard artifacts to a model artifact."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from pydantic import ValidationError

from cookhouse.stages import STAGES
from cookhouse.stages.pretrain import Pretrain, pretrain
from cookhouse.stages.sft import FineTune, fine_tune
from model.checkpoint import load_model
from pipelines.core.errors import DataError
from pipelines.core.identity import identity_of
from pipelines.workflow.stage import Artifact, Attempt, Inputs, load_stage

PLAIN = {"world_size": 1, "zero_stage": None, "launcher": "local", "precision": "fp32", "max_skipped_share": 0.5}


@pytest.fixture
def shards(folders) -> tuple[Artifact, ...]:
    return tuple(Artifact.from_folder(folder.root, name) for name, folder in folders.items())


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
    made = Artifact.from_folder(first.dir, "pretrain")
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
