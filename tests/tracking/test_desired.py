"""What MLflow should show follows from the files alone, however they were read."""

from __future__ import annotations

import json
import random
import uuid

import pytest

from pipelines.tracking.desired import Shown, cuts, desired, difference
from pipelines.tracking.files import RunReader

IDS = {"run": ("1", "a"), "step cards": ("1", "b"), "step sft": ("1", "c")}


@pytest.mark.parametrize("seed", range(10))
def test_any_looks_at_the_files_end_in_the_same_state(kitchen, seed) -> None:
    run = uuid.uuid4().hex[:8]
    kitchen.write_run(run, [kitchen.data(), kitchen.train(note=run)], "RUN")
    at_once = RunReader(kitchen.root, run, print).look()
    path = kitchen.root / "runs" / run / "events.jsonl"
    whole, draw = path.read_bytes(), random.Random(seed)
    path.write_bytes(b"")
    reader = RunReader(kitchen.root, run, print)
    with path.open("ab") as file:
        while file.tell() < len(whole):
            file.write(whole[file.tell() : file.tell() + draw.randrange(1, 400)])
            file.flush()
            assert set(desired(reader.look(), IDS)) <= {"run", "step cards", "step sft"}
    assert reader.look() == at_once
    assert desired(reader.look(), IDS) == desired(at_once, IDS)
    assert desired(at_once, IDS)["step sft"].status == "FINISHED"


def test_what_arrived_is_not_sent_again(kitchen) -> None:
    run = uuid.uuid4().hex[:8]
    kitchen.write_run(run, [kitchen.data(), kitchen.train(note=run)], "RUN")
    for want in desired(RunReader(kitchen.root, run, print).look(), IDS).values():
        gap = difference(want, Shown())
        assert gap.params == want.params
        assert gap.tags
        shown = Shown(
            gap.params,
            {**gap.tags, "by_hand": "good"},
            {point.name: point.value for point in gap.metrics},
            frozenset(item.name for item in gap.inputs),
            frozenset(gap.files),
            gap.status,
        )
        none = difference(want, shown)
        assert not any((none.params, none.tags, none.metrics, none.inputs, none.files, none.status))


def test_links_to_runs_the_store_has_not_made_are_left_out(kitchen) -> None:
    kitchen.write_run("r", [kitchen.train()], "HIT")
    run = RunReader(kitchen.root, "r", print).look()
    assert desired(run, {})["run"].tags["cookhouse.step.sft.run"] == "-"
    assert desired(run, IDS)["run"].tags["cookhouse.step.sft.run"] == "c"
    assert "(#/experiments/1/runs/c)" in desired(run, IDS)["run"].tags["mlflow.note.content"]


def test_the_code_of_a_step_is_that_which_made_it(kitchen) -> None:
    made = kitchen.train()
    kitchen.write_run("r", [made], "HIT")
    told = kitchen.record(made)["provenance"]
    assert told["packages"]["mlflow"]
    tags = desired(RunReader(kitchen.root, "r", print).look(), IDS)["step sft"].tags
    assert tags.get("cookhouse.git_sha") == told.get("commit")
    assert "mlflow=" in tags["cookhouse.packages"]


def test_a_failed_step_says_its_code_too(kitchen) -> None:
    with pytest.raises(ValueError, match="fire"):
        kitchen.train(fail=True)
    (attempt,) = (kitchen.root / "toy_train").glob("*/attempts/*")
    told = {"status": "failed", "what": "fire", "provenance": {"commit": "c0ffee"}}
    (attempt / "outcome.json").write_text(json.dumps(told))
    events = kitchen.events("r")
    events.emit("run_started", recipe="toy", overrides=[])
    events.emit("step_started", step="sft", key="k", attempt_dir=str(attempt))
    events.emit("step_finished", step="sft", key="k", status="failed", artifact_json=None, seconds=1.0)
    want = desired(RunReader(kitchen.root, "r", print).look(), IDS)["step sft"]
    assert want.status == "FAILED"
    assert want.tags["cookhouse.git_sha"] == "c0ffee"
    assert want.tags["cookhouse.failure"] == "fire"


def test_a_newer_attempt_supersedes_from_its_first_step_on() -> None:
    assert cuts([{"loss": (0, 9)}, {"loss": (5, 7)}]) == [{"loss": 5}, {}]
    assert cuts([{"loss": (0, 9)}, {"loss": (5, 7)}, {"loss": (3, 4), "lr": (3, 4)}])[0] == {"loss": 3, "lr": 3}
