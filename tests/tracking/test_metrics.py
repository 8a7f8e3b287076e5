"""Metrics are read while they are written: nothing twice from a store, nothing lost before it was delivered."""

from __future__ import annotations

import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.core import storage
from pipelines.core.events import EventWriter
from pipelines.tracking.follow import Follower
from pipelines.tracking.metrics import MetricFile


def part(number: int, *values: float) -> bytes:
    lines = [{"t": 1.0, "kind": "metric", "step": number, "values": {"loss": value}} for value in values]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def test_points_come_again_until_they_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "events.jsonl"
    file = MetricFile(tmp_path)
    assert not file.read()
    path.parent.mkdir()
    path.write_bytes(part(0, 3.0) + b"no json\n" + part(1, 2.0) + b'{"kind": "met')
    assert file.read()
    points, end = file.after(0)
    assert [(point.step, point.value) for point in points] == [(0, 3.0), (1, 2.0)]
    assert file.after(len(part(0, 3.0))) == (points[1:], end)
    assert file.after(0)[0] == points, "they were not delivered"
    file.forget(end)
    assert not file.read()
    with path.open("ab") as more:
        more.write(b'ric", "values": {"loss": 1}}\n')
    assert file.read()
    (point,), end = file.after(end)
    assert (point.value, file.last, end) == (1.0, {"loss": 1.0}, path.stat().st_size)


def test_a_store_that_is_away_loses_nothing(s3) -> None:
    attempt = storage.place("s3://kitchen/root/toy/sft-0/attempts/1-abc")
    for number in (1, 2):
        storage.put(attempt / "logs" / f"events.jsonl.{number:06d}", part(number, 1.0 / number))
    file = MetricFile(attempt)
    with s3.failing(lambda method, path: path.endswith("000002")):
        assert not file.read()
    assert file.read()
    assert [point.step for point in file.after(0)[0]] == [1, 2]


def test_a_run_over_a_bucket_reads_each_part_once(s3, tmp_path: Path, store_uri: str, monkeypatch) -> None:
    """However often the mirror looks; and a step that fell silent is found so by one listing."""
    run = uuid.uuid4().hex[:8]
    attempt = storage.place(f"s3://kitchen/root/toy_train/sft-{run}/attempts/1-abc")
    storage.put(attempt / "attempt.json", b'{"number": 1, "generation": 1}')
    events = EventWriter(tmp_path / "runs" / run / "events.jsonl")
    events.emit("run_started", recipe="toy", overrides=[])
    events.emit("step_started", step="sft", key=run * 8, attempt_dir=str(attempt))
    events.close()
    follower = Follower(tmp_path, run, store_uri)
    follower.pump()
    s3.requests.clear()
    follower.pump()
    assert not s3.requests, "parts come every few seconds, the mirror looks twice a second"

    monkeypatch.setattr(follower._metrics[attempt], "_every", 0.0)
    for number in range(1, 6):
        storage.put(attempt / "logs" / f"events.jsonl.{number:06d}", part(number, 1.0 / number))
        follower.pump()
        follower.pump()
    fetched = [path for method, path in s3.requests if method == "GET" and "events.jsonl." in path]
    assert len(fetched) == len(set(fetched)) == 5
    listed = [path for method, path in s3.requests if method == "GET" and path.strip("/") == "kitchen"]
    assert len(listed) == 10
    sent = follower.sink.client.get_metric_history(follower.steps["sft"].run_id, "loss")
    assert [point.value for point in sent] == pytest.approx([1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5])

    s3.requests.clear()
    assert not follower.settle()
    asked = len(s3.requests)
    assert not [path for _, path in s3.requests if "events.jsonl" in path], "no look at each part"
    assert not follower.settle()
    assert len(s3.requests) == asked, "the next look comes later"
    monkeypatch.setattr("pipelines.tracking.follow.SETTLE_REMOTE_S", 0.0)
    monkeypatch.setattr("pipelines.tracking.follow.IDLE_S", -1.0)
    assert follower.settle()
    assert follower.sink.client.get_run(follower.steps["sft"].run_id).info.status == "KILLED"


def test_when_a_folder_was_last_written(s3, tmp_path: Path) -> None:
    before = datetime.now(UTC).timestamp()
    for folder in (tmp_path, storage.place("s3://kitchen/logs")):
        assert storage.last_write(folder / "none") == 0.0
        storage.put(folder / "a.txt", b"a")
        assert abs(storage.last_write(folder) - before) < 60
    os.utime(tmp_path / "a.txt", (5.0, 5.0))
    assert storage.last_write(tmp_path) == 5.0


def test_looks_at_a_bucket_are_as_far_apart_as_its_parts(s3, tmp_path: Path) -> None:
    assert MetricFile(tmp_path).due
    remote = MetricFile(storage.place("s3://kitchen/x"))
    assert remote.due
    remote.read()
    assert not remote.due
