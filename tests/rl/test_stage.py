"""The stage in this process: what it writes, what it refuses, and that a killed run ends with the same bytes."""

import json
from pathlib import Path

import pytest
from stage_runs import plain_folder, run_stage_inprocess

import rl.crew.local
from cookhouse.stages.rl import reinforce
from model.checkpoint import load_model
from pipelines.core.errors import DataError
from pipelines.core.events import read_events
from pipelines.shards.manifest import Row
from pipelines.shards.sample import sample_json, text_content, turn
from pipelines.shards.unit import write_unit
from pipelines.workflow.artifact import Artifact
from rl.crew.local import LocalCrew
from rl.settings import ReinforceConfig

CONFIG = ReinforceConfig(
    seeds=(0, 1),
    steps=5,
    prompts_per_step=6,
    group=4,
    chunk=3,
    max_new_tokens_short=3,
    max_new_tokens_long=8,
    checkpoint_every=2,
    lr=1e-3,
)


def question_shards(folder: Path, split: str = "train") -> Artifact:
    """Text questions of ``conftest`` as a shard artifact, both modes; also one of another family."""
    items = []
    for digit in range(10):
        for mode, thought in (("short", None), ("long", "so")):
            answer = str((digit + 3) % 10)
            meta = {
                "question_kind": "add",
                "answer": answer,
                "verifier": "number",
                "family": "card" if digit else "page",
            }
            text = sample_json("question", split, mode, turn([text_content(str(digit))], answer, thought), meta)
            key = f"q{digit}-{mode}"
            row = Row(key, "ok", "questions", source="q", source_digest="d", split=split, kind="question")
            items.append((row, {"json": text}))
    write_unit(folder, "train-000000", items)
    return plain_folder(folder, "questions", "questions")


@pytest.fixture
def inputs(noisy_model, tmp_path):
    return {
        "model": plain_folder(noisy_model.parent, "sft", "sft"),
        "questions": question_shards(tmp_path / "questions"),
    }


def files(artifact: Artifact, pattern: str) -> dict[str, bytes]:
    return {name: artifact.path(name).read_bytes() for name in artifact.names if name.endswith(pattern)}


def test_what_it_writes(inputs, tmp_path):
    artifact = run_stage_inprocess(reinforce, CONFIG, inputs, tmp_path / "store")
    for seed in CONFIG.seeds:
        load_model(artifact.path(f"seed-{seed}/model"))
        rows = [json.loads(line) for line in artifact.path(f"seed-{seed}/rollouts.jsonl").read_text().splitlines()]
        assert {row["step"] for row in rows} == {0, 2, 4}
        assert {row["mode"] for row in rows} == {"short", "long"}
        assert all(row["sample"] != "q0-short" for row in rows), "only the family asked for"
    assert not [name for name in artifact.names if "scratch" in name or "checkpoint" in name]
    weights = list(files(artifact, ".safetensors").values())
    assert weights[0] != weights[1], "seeds differ"
    assert artifact.stats["samples"] == 2 * 5 * 6 * 4
    assert artifact.stats["ledger"]["seed-0"]["dispatched"] == 5 * 6
    told = [event for path in artifact.root.rglob("events.jsonl") for event in read_events(path)]
    progress = [(event["done"], event["total"]) for event in told if event["kind"] == "progress"]
    assert progress == [(done, 10) for done in [*range(6), *range(5, 11)]], "counted over both seeds"
    events = [event for event in told if event["kind"] == "metric"]
    assert [event["step"] for event in events] == list(range(10))
    assert {
        "rl/reward/mean",
        "rl/accuracy/short",
        "rl/accuracy/long",
        "rl/kl",
        "rl/entropy",
        "rl/frac_zero_std",
        "rl/tokens",
    } <= set(events[0]["values"])
    assert "rl/parity_max_abs" in events[0]["values"]


@pytest.mark.parametrize("overlap", [0, 1])
def test_a_killed_run_ends_with_the_same_bytes(inputs, tmp_path, monkeypatch, overlap):
    config = CONFIG.model_copy(update={"overlap": overlap, "seeds": (0,)})
    whole = run_stage_inprocess(reinforce, config, inputs, tmp_path / "whole")
    learned = []

    class Killed(LocalCrew):
        def learn(self, groups):
            learned.append(self.learner.step)
            if len(learned) == 4:
                raise KeyboardInterrupt
            return super().learn(groups)

    monkeypatch.setattr(rl.crew.local, "LocalCrew", Killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage_inprocess(reinforce, config, inputs, tmp_path / "broken")
    if overlap:
        (state,) = (tmp_path / "broken").rglob("scratch/*/torch.pt")
        held = state.read_bytes()
        state.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
        with pytest.raises(DataError, match="changed after it was written"):
            run_stage_inprocess(reinforce, config, inputs, tmp_path / "broken")
        state.write_bytes(held)
    resumed = run_stage_inprocess(reinforce, config, inputs, tmp_path / "broken")
    assert learned == [0, 1, 2, 3, 2, 3, 4], "it goes on from the checkpoint after update 2"
    for pattern in (".safetensors", "rollouts.jsonl"):
        assert files(resumed, pattern) == files(whole, pattern)
    assert resumed.stats["first"]["reward/mean"] == whole.stats["first"]["reward/mean"]
    assert resumed.stats["ledger"] == whole.stats["ledger"], "nothing is counted twice"


def test_test_questions_are_never_learned(noisy_model, tmp_path):
    inputs = {
        "model": plain_folder(noisy_model.parent, "sft", "sft"),
        "questions": question_shards(tmp_path / "questions", split="test"),
    }
    with pytest.raises(DataError, match="no question"):
        run_stage_inprocess(reinforce, CONFIG, inputs, tmp_path / "store")


def test_learning_needs_the_policy_to_train():
    with pytest.raises(ValueError, match="policy"):
        ReinforceConfig(trains=("resampler",))
    with pytest.raises(ValueError, match="different"):
        ReinforceConfig(seeds=(1, 1))
