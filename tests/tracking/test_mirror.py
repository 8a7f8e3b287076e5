"""The process around it: it starts at once, never blocks the driver, and outlives it."""

from __future__ import annotations

import time
import uuid

from pipelines.tracking.mirror import start_mirror
from pipelines.tracking.mirror_process import unfinished
from pipelines.tracking.sink import Sink


def test_the_mirror_process_delivers_a_run_and_says_so(kitchen, store_uri):
    run = uuid.uuid4().hex[:8]
    made = kitchen.train(note=run)
    begun = time.monotonic()
    handle = start_mirror(kitchen.root, [run], store_uri)
    assert time.monotonic() - begun < 1.0
    kitchen.write_run(run, [made], "RUN")
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
    handle.process.wait(timeout=120)


def test_a_store_that_is_away_costs_one_line_and_no_time(kitchen):
    kitchen.write_run("r1", [kitchen.train()], "RUN")
    uri = "http://127.0.0.1:9"
    handle = start_mirror(kitchen.root, ["r1"], uri)
    begun = time.monotonic()
    assert handle.close(timeout=0.2) is False
    assert time.monotonic() - begun < 2.0
    handle.process.terminate()
    handle.process.wait(timeout=120)
    assert unfinished(kitchen.root, uri, besides="r2") == []  # its driver, this process, lives
    (kitchen.root / "runs" / "r1" / "driver.pid").unlink()
    assert unfinished(kitchen.root, uri, besides="r2") == ["r1"]
    assert unfinished(kitchen.root, uri, besides="r1") == []
