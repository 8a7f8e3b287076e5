"""The process around it: it starts at once, never blocks the driver, and outlives it."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
import uuid

import pytest

from pipelines.tracking import state
from pipelines.tracking.mirror import start_mirror
from pipelines.tracking.mirror_process import sync, unfinished
from pipelines.tracking.sink import Sink
from pipelines.workflow import process


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A pipe at which the mirror's process waits, before its Python starts, until somebody opens it to write."""
    pipe, python = tmp_path / "pipe", tmp_path / "python"
    os.mkfifo(pipe)
    python.write_text(f'#!/bin/sh\nread -r _ < {shlex.quote(str(pipe))}\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return pipe


def test_the_mirror_process_delivers_a_run_and_says_so(kitchen, store_uri, held):
    run = uuid.uuid4().hex[:8]
    made = kitchen.train(note=run)
    handle = start_mirror(kitchen.root, [run], store_uri)
    kitchen.write_run(run, [made], "RUN")
    assert not handle.delivered(), "the driver has not waited for it"
    held.open("w").close()
    assert handle.close(timeout=180), handle.log.read_text()
    client = Sink(store_uri).client
    found = client.get_experiment_by_name("cookhouse/toy")
    assert found.tags["mlflow.experimentKind"] == "custom_model_development", "MLflow shows training runs and charts"
    experiment = found.experiment_id
    (parent,) = client.search_runs(
        [experiment], f"tags.`cookhouse.run` = '{run}' and tags.`cookhouse.level` = 'pipeline'"
    )
    assert parent.info.status == "FINISHED"
    assert "tracking: " not in handle.log.read_text(), "no warning"
    handle.process.wait()


def test_a_store_that_is_away_costs_one_line_and_no_time(kitchen, held):
    kitchen.write_run("r1", [kitchen.train()], "RUN")
    uri = "http://127.0.0.1:9"
    handle = start_mirror(kitchen.root, ["r1"], uri)
    assert handle.close(timeout=0.2) is False
    assert handle.process.poll() is None, "it goes on alone"
    handle.process.terminate()
    handle.process.wait()
    drives(kitchen, "r1", **process.identity())
    assert unfinished(kitchen.root, uri, besides="r2") == []  # its driver, this process, lives
    drives(kitchen, "r1", **{**process.identity(), "start": "another"})
    assert unfinished(kitchen.root, uri, besides="r2") == ["r1"]
    assert unfinished(kitchen.root, uri, besides="r1") == []


def drives(kitchen, run, steps=(), **driver):
    """The record of a run and who drives it."""
    text = json.dumps({"run_id": run, "started": 1.0, "driver": driver, "steps": [*steps]})
    (kitchen.root / "runs" / f"{run}.json").write_text(text)


def test_a_pid_of_another_host_says_nothing_of_a_run_there(kitchen):
    """Not even that of a dead process here: its events and the heartbeats of its leases do."""
    made = kitchen.train()
    kitchen.write_run("r1", [made], "RUN", end=None)
    events = kitchen.root / "runs" / "r1" / "events.jsonl"
    row = {"folder": str(made.root)}
    drives(kitchen, "r1", [row], host="elsewhere", pid=os.getpid(), start="1")
    assert unfinished(kitchen.root, "u", besides=()) == [], "it wrote a moment ago"
    os.utime(events, (1.0, 1.0))
    held = made.root / "lease.json"
    held.write_text(json.dumps({"run_id": "r1", "host": "elsewhere", "pid": 1, "start": "1"}))
    assert unfinished(kitchen.root, "u", besides=()) == [], "its lease has a heartbeat"
    assert not sync(kitchen.root, "r1", "sqlite:///nowhere.db"), "it is not called killed"
    os.utime(held, (1.0, 1.0))
    assert unfinished(kitchen.root, "u", besides=()) == ["r1"]


def test_a_mirror_killed_in_the_middle_is_gone_on_from(kitchen, store_uri):
    """kill -9 after the first metrics arrived; the next mirror's process sends the rest, and nothing twice."""
    run = uuid.uuid4().hex[:8]
    made = kitchen.train(note=run)
    attempt = made.root / "attempts" / kitchen.record(made)["attempt"]
    whole = (attempt / "logs" / "events.jsonl").read_bytes()
    first = whole.index(b"\n", whole.index(b'"metric"')) + 1
    (attempt / "logs" / "events.jsonl").write_bytes(whole[:first])
    kitchen.write_run(run, [made], "RUN")
    events = kitchen.root / "runs" / run / "events.jsonl"
    told = events.read_bytes()
    cut = told.index(b'{"t"', told.index(b"step_started"))
    events.write_bytes(told[:cut])
    (made.root / "artifact.json").rename(made.root / "later")
    handle = start_mirror(kitchen.root, [run], store_uri)
    deadline = time.monotonic() + 180
    while state.load(made.root, store_uri, "generation-1").get("cursors", {}).get(attempt.name) != first:
        assert time.monotonic() < deadline, handle.log.read_text()
        assert handle.process.poll() is None, handle.log.read_text()
        time.sleep(0.05)
    handle.process.kill()
    handle.process.wait()
    (attempt / "logs" / "events.jsonl").write_bytes(whole)
    (made.root / "later").rename(made.root / "artifact.json")
    events.write_bytes(told)
    again = start_mirror(kitchen.root, [run], store_uri)
    assert again.close(timeout=180), again.log.read_text()
    again.process.wait()
    client = Sink(store_uri).client
    known = state.load(made.root, store_uri, "generation-1")["run_id"]
    assert client.get_run(known).info.status == "FINISHED"
    assert [point.step for point in client.get_metric_history(known, "train/loss")] == [0, 1, 2]
