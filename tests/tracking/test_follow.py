"""A pipeline run in MLflow says what the files say: once, whatever was interrupted."""

from __future__ import annotations

import json
import math
import os
import threading
import uuid

import pytest

from pipelines.core.events import EventWriter
from pipelines.tracking import state
from pipelines.tracking.apply import Mirror
from pipelines.tracking.mirror_process import follow as follow_runs
from pipelines.tracking.mirror_process import sync
from pipelines.tracking.sink import Sink


def follow(kitchen, run, uri, **settings) -> str:
    """Id of the pipeline run's MLflow run, after everything was delivered."""
    closing = threading.Event()
    closing.set()
    mirror = Mirror(kitchen.root, [run], uri, **settings)
    assert follow_runs(mirror, closing, patience=0.0, linger=0.0)
    return mirror.targets[kitchen.root / "runs" / run, "run"].run


def runs_with(uri, **tags):
    client = Sink(uri).client
    query = " and ".join(f"tags.`cookhouse.{name}` = '{value}'" for name, value in tags.items())
    return client.search_runs([e.experiment_id for e in client.search_experiments()], filter_string=query)


@pytest.fixture
def run() -> str:
    return uuid.uuid4().hex[:8]


def test_a_fresh_run_has_a_parent_and_a_child_for_each_key(kitchen, store_uri, run):
    data, tuned = kitchen.data(), kitchen.train(note=run)
    kitchen.write_run(run, [data, tuned], "RUN")
    parent = follow(kitchen, run, store_uri)
    (child,) = runs_with(store_uri, key=tuned.key)
    assert child.info.run_name == f"sft-lr=0.1-{tuned.key[:7]}"
    assert child.info.status == "FINISHED"
    assert child.data.tags["mlflow.parentRunId"] == parent
    assert child.data.params["lr"] == "0.1"
    assert child.data.params["note"] == run
    assert child.data.metrics["train/loss"] == pytest.approx(0.9)
    assert child.data.metrics["eval/cer"] == 0.5
    client = Sink(store_uri).client
    assert [(p.step, p.value) for p in client.get_metric_history(child.info.run_id, "train/loss")] == [
        (0, pytest.approx(2.9)),
        (1, pytest.approx(1.9)),
        (2, pytest.approx(0.9)),
    ]
    assert {file.path for file in client.list_artifacts(child.info.run_id)} >= {"report.html", "manifest.json"}
    (dataset,) = child.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("cards", data.content_digest[:32])
    whole = client.get_run(parent)
    assert whole.info.status == "FINISHED"
    assert whole.info.run_name == "toy-sft.lr=0.1"
    assert whole.data.metrics["sft/train/loss"] == pytest.approx(0.9)
    assert whole.data.tags["cookhouse.step.sft"] == f"RUN {tuned.key[:12]}"
    assert whole.data.tags["cookhouse.step.sft.run"] == child.info.run_id
    assert child.info.run_id in whole.data.tags["mlflow.note.content"]


def test_a_run_made_of_hits_compares_as_well_as_a_fresh_one(kitchen, store_uri, run):
    made = [kitchen.data(), kitchen.train(note=run)]
    kitchen.write_run(run, made, "RUN")
    kitchen.write_run(run + "-again", made, "HIT")
    fresh, hits = follow(kitchen, run, store_uri), follow(kitchen, run + "-again", store_uri)
    client = Sink(store_uri).client
    before, after = client.get_run(fresh).data, client.get_run(hits).data
    assert fresh != hits
    assert after.metrics == before.metrics
    assert "sft/train/loss" in after.metrics
    assert after.params == before.params
    assert after.tags["cookhouse.step.sft"].startswith("HIT")
    assert after.tags["cookhouse.step.sft.run"] == before.tags["cookhouse.step.sft.run"]
    assert len(runs_with(store_uri, key=made[1].key)) == 1


def test_a_hit_whose_result_was_made_untracked_gets_its_run_afterwards(kitchen, store_uri, run):
    made = kitchen.train(note=run)
    kitchen.write_run(run, [made], "HIT")
    follow(kitchen, run, store_uri)
    (child,) = runs_with(store_uri, key=made.key)
    record = kitchen.record(made)
    assert child.info.status == "FINISHED"
    assert child.data.metrics["train/loss"] == pytest.approx(0.9)
    assert child.info.end_time == int(record["created"] * 1000)


def test_replaying_a_run_changes_nothing(kitchen, store_uri, run):
    made = kitchen.train(note=run)
    kitchen.write_run(run, [made], "RUN")
    follow(kitchen, run, store_uri)
    for name in (made.root / state.FILE, kitchen.root / "runs" / run / state.FILE):
        name.unlink()  # as if the machine died between the call and the note of it
    assert sync(kitchen.root, run, store_uri)
    (child,) = runs_with(store_uri, key=made.key)
    assert len(Sink(store_uri).client.get_metric_history(child.info.run_id, "train/loss")) == 3
    assert len(runs_with(store_uri, run=run, level="pipeline")) == 1


def test_a_failed_step_is_failed_with_its_message_and_metrics(kitchen, store_uri, run):
    with pytest.raises(ValueError, match="fire"):
        kitchen.train(note=run, fail=True)
    (attempt,) = (kitchen.root / "toy_train").glob("*/attempts/*")
    events, key = kitchen.events(run), f"{run}{'0' * 56}"
    events.emit("run_started", recipe="toy", overrides=[])
    events.emit("step_started", step="sft", key=key, attempt_dir=str(attempt))
    events.emit("step_finished", step="sft", key=key, status="failed", artifact_json=None, seconds=1.0, what="fire")
    events.emit("run_finished", status="failed")
    parent = follow(kitchen, run, store_uri)
    (child,) = runs_with(store_uri, key=key)
    assert child.info.status == "FAILED"
    assert child.data.tags["cookhouse.failure"] == "fire"
    assert child.data.metrics["train/loss"] == pytest.approx(0.9)
    assert Sink(store_uri).client.get_run(parent).info.status == "FAILED"


def test_an_old_failure_told_late_does_not_undo_what_a_later_run_made(kitchen, store_uri, run):
    made = kitchen.train(note=run)
    failed = made.root / "attempts" / "0-dead"
    (failed / "logs").mkdir(parents=True)
    (failed / "attempt.json").write_text(json.dumps({"number": 0, "generation": 1}))
    events = kitchen.events(run)
    events.emit("run_started", recipe="toy", overrides=[])
    events.emit("step_started", step="sft", key=made.key, attempt_dir=str(failed))
    events.emit("step_finished", step="sft", key=made.key, status="failed", artifact_json=None, seconds=1.0, what="no")
    events.emit("run_finished", status="failed")
    parent = follow(kitchen, run, store_uri)
    (child,) = runs_with(store_uri, key=made.key)
    assert child.info.status == "FINISHED"
    assert child.data.metrics["eval/cer"] == 0.5
    assert Sink(store_uri).client.get_run(parent).info.status == "FAILED"


@pytest.fixture
def in_flight(kitchen, run):
    """A run whose driver died while a step worked: the folder of the attempt, nothing committed."""
    attempt = kitchen.root / "toy_train" / f"sft-{run}" / "attempts" / "1-abc"
    logs = EventWriter(attempt / "logs" / "events.jsonl")
    logs.metrics(4, {"train/loss": 1.5})
    (attempt / "attempt.json").write_text(json.dumps({"number": 1, "generation": 1}))
    events = kitchen.events(run)
    events.emit("run_started", recipe="toy", overrides=[])
    events.emit("step_started", step="sft", key=run * 8, attempt_dir=str(attempt))
    return attempt


def test_a_driver_that_died_leaves_a_killed_run_and_its_job_running(kitchen, store_uri, run, in_flight):
    parent = follow(kitchen, run, store_uri)
    (child,) = runs_with(store_uri, key=run * 8)
    assert Sink(store_uri).client.get_run(parent).info.status == "KILLED"
    assert child.info.status == "RUNNING"
    assert child.data.metrics["train/loss"] == 1.5


@pytest.mark.parametrize(("end", "status"), [("failed", "FAILED"), ("silence", "KILLED")])
def test_the_mirror_of_a_dead_driver_sees_its_job_to_the_end(kitchen, store_uri, run, in_flight, end, status):
    mirror = Mirror(kitchen.root, [run], store_uri)
    mirror.look()
    mirror.look(gone=True)
    assert not mirror.done
    if end == "failed":
        (in_flight / "outcome.json").write_text(json.dumps({"status": "failed", "what": "no memory"}))
    else:
        for path in (in_flight / "logs" / "events.jsonl", in_flight):
            os.utime(path, (1.0, 1.0))
    mirror.look(gone=True)
    assert mirror.done
    (child,) = runs_with(store_uri, key=run * 8)
    assert child.info.status == status


def test_a_committed_step_of_a_dead_driver_is_finished(kitchen, store_uri, run):
    made = kitchen.train(note=run)
    kitchen.write_run(run, [made], "RUN", end=None)
    lines = (kitchen.root / "runs" / run / "events.jsonl").read_text().splitlines()
    (kitchen.root / "runs" / run / "events.jsonl").write_text("\n".join(lines[:-1]) + "\n")  # died before step_finished
    parent = follow(kitchen, run, store_uri)
    (child,) = runs_with(store_uri, key=made.key)
    assert child.info.status == "FINISHED"
    assert Sink(store_uri).client.get_run(parent).info.status == "KILLED"


class Flaky(Sink):
    """A store that is away at its 1st, 4th, 9th, 16th ... call."""

    calls = 0

    def log(self, run, *values, **named):
        self._stumble()
        super().log(run, *values, **named)

    def state(self, run, status, ended):
        self._stumble()
        super().state(run, status, ended)

    def _stumble(self):
        Flaky.calls += 1
        if math.isqrt(Flaky.calls) ** 2 == Flaky.calls:
            raise ConnectionError("away")


def test_an_outage_in_the_middle_loses_nothing(kitchen, store_uri, run):
    made = kitchen.train(note=run)
    kitchen.write_run(run, [made], "RUN")
    said: list[str] = []
    mirror = Mirror(kitchen.root, [run], store_uri, open_store=Flaky, warn=said.append)
    stumbled = 0
    while not mirror.done:
        try:
            mirror.look()
        except ConnectionError:
            stumbled += 1
    assert stumbled
    (child,) = runs_with(store_uri, key=made.key)
    assert child.info.status == "FINISHED"
    assert child.data.metrics["train/loss"] == pytest.approx(0.9)
    assert not said


def test_an_event_that_says_too_little_is_passed_over_with_a_warning(kitchen, store_uri, run):
    events = kitchen.events(run)
    events.emit("run_started", recipe="toy", overrides=[])
    events.emit("step_finished", key="k", status="ok")
    events.emit("run_finished", status="ok")
    said: list[str] = []
    parent = follow(kitchen, run, store_uri, warn=said.append)
    assert Sink(store_uri).client.get_run(parent).info.status == "FINISHED"
    assert len(said) == 1
    assert "step_finished" in said[0]


def test_a_wiped_store_gets_the_runs_again(kitchen, store_uri, run):
    made = kitchen.train(note=run)
    kitchen.write_run(run, [made], "RUN")
    follow(kitchen, run, store_uri)
    (child,) = runs_with(store_uri, key=made.key)
    Sink(store_uri).client.delete_run(child.info.run_id)
    kitchen.write_run(run + "-next", [made], "HIT")
    follow(kitchen, run + "-next", store_uri)
    (again,) = runs_with(store_uri, key=made.key)
    assert again.info.run_id != child.info.run_id
    assert again.data.metrics["train/loss"] == pytest.approx(0.9)
