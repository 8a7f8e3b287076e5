"""The process around it: it starts at once, never blocks the driver, and outlives it."""

from __future__ import annotations

import os
import shlex
import sys
import uuid

import pytest

from pipelines.tracking.mirror import start_mirror
from pipelines.tracking.mirror_process import unfinished
from pipelines.tracking.sink import Sink


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
    assert unfinished(kitchen.root, uri, besides="r2") == []  # its driver, this process, lives
    (kitchen.root / "runs" / "r1" / "driver.pid").unlink()
    assert unfinished(kitchen.root, uri, besides="r2") == ["r1"]
    assert unfinished(kitchen.root, uri, besides="r1") == []
