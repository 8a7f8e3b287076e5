"""Metrics are read while they are written: nothing twice from a store, nothing lost before it was delivered."""

from __future__ import annotations

import json
import math
import os
import random
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.core import storage
from pipelines.core.errors import InfraError
from pipelines.core.events import EventWriter
from pipelines.core.trail import Trail
from pipelines.tracking.apply import Mirror
from pipelines.tracking.series import PIECE, Lines, Series


def part(number: int, *values: float) -> bytes:
    lines = [{"t": 1.0, "kind": "metric", "step": number, "values": {"loss": value}} for value in values]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def test_points_come_again_until_they_were_delivered(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "events.jsonl"
    lines = Lines(tmp_path)
    assert not list(lines.pieces(now=False))
    path.parent.mkdir()
    path.write_bytes(part(0, 3.0) + b"no json\n" + part(1, 2.0) + b'{"kind": "met')
    whole = path.stat().st_size - len('{"kind": "met')
    for _ in range(2):
        assert next(lines.pieces(now=False)) == whole
        assert [(point.step, point.value) for point in lines.points] == [(0, 3.0), (1, 2.0)]
    lines.points.clear()
    assert not list(lines.pieces(now=False))
    with path.open("ab") as more:
        more.write(b'ric", "values": {"loss": 1}}\n')
    assert list(lines.pieces(now=False)) == [path.stat().st_size]
    assert ([point.value for point in lines.points], lines.last) == ([1.0], {"loss": 1.0})


def test_a_long_file_is_read_once_and_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its length: neither a look nor the memory grows with what was read before."""
    path = tmp_path / "logs" / "events.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(part(step, 1.0) for step in range(60_000)))
    read: list[int] = []
    new = Trail.new
    monkeypatch.setattr(Trail, "new", lambda self, most=-1: read.append(len(found := new(self, most))) or found)
    lines, most = Lines(tmp_path), 0
    for _ in lines.pieces(now=False):
        most = max(most, len(lines.points))
        lines.points.clear()
    assert sum(read) == path.stat().st_size
    assert max(read) <= PIECE
    assert most < 20_000
    read.clear()
    assert not list(lines.pieces(now=False))
    assert sum(read) == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_looks_the_newest_attempt_has_the_last_word(tmp_path: Path, seed: int) -> None:
    """Three attempts, each going on from a checkpoint of the one before, read in looks of any length: what is in the store
    in the end is the one curve without a way back."""
    draw = random.Random(seed)
    starts = [0, draw.randrange(1, 6), draw.randrange(1, 9)]
    whole = [range(start, start + draw.randrange(1, 8)) for start in starts]
    attempts = [tmp_path / f"{number}-a" for number in (1, 2, 3)]
    for attempt in attempts:
        (attempt / "logs").mkdir(parents=True)
    store, sent, again = {}, {}, 0
    series = Series()

    def look(known: int) -> None:
        nonlocal series, again
        series.open(attempts[:known])
        for lines, points in series.pieces(now=False):
            store.update({(point.step, point.value): None for point in points})
            sent.setdefault(lines.attempt.name, dict(series.cuts[lines.attempt.name]))
            lines.points.clear()
        if series.stale(sent):
            again += 1
            store.clear()
            sent.clear()
            series = Series()
            look(known)

    for number, steps in enumerate(whole):
        data = b"".join(part(step, step + number / 10) for step in steps)
        cut = draw.randrange(len(data) + 1)
        for piece in (data[:cut], data[cut:]):
            with (attempts[number] / "logs" / "events.jsonl").open("ab") as file:
                file.write(piece)
            if draw.random() < 0.7:
                look(number + 1)
    look(3)
    newer = [min(starts[number + 1 :], default=99) for number in range(3)]
    wanted = {(step, step + number / 10) for number in range(3) for step in whole[number] if step < newer[number]}
    assert set(store) == wanted
    assert len({step for step, _ in store}) == len(store), "one value a step"
    assert again <= 2, "once an attempt at most"


def test_values_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    (tmp_path / "1-a" / "logs").mkdir(parents=True)
    (tmp_path / "1-a" / "logs" / "events.jsonl").write_bytes(part(3, math.inf, 1.0, math.nan))
    series = Series()
    series.open([tmp_path / "1-a"])
    ((_, points),) = series.pieces(now=True)
    assert [math.isnan(point.value) for point in points] == [True, False, True]
    assert series.summary.odd == {"loss": (2, 3)}


def test_a_store_that_is_away_loses_nothing(s3) -> None:
    attempt = storage.place("s3://kitchen/root/toy/sft-0/attempts/1-abc")
    for number in (1, 2):
        storage.put(attempt / "logs" / f"events.jsonl.{number:06d}", part(number, 1.0 / number))
    lines = Lines(attempt)
    with s3.failing(lambda method, path: path.endswith("000002")), pytest.raises(InfraError):
        list(lines.pieces(now=False))
    assert list(lines.pieces(now=True))
    assert [point.step for point in lines.points] == [1, 2]


def test_a_run_over_a_bucket_reads_each_part_once(s3, tmp_path: Path, store_uri: str, monkeypatch) -> None:
    """However often the mirror looks; and a step that fell silent is found so by one listing."""
    run = uuid.uuid4().hex[:8]
    attempt = storage.place(f"s3://kitchen/root/toy_train/sft-{run}/attempts/1-abc")
    storage.put(attempt / "attempt.json", b'{"number": 1, "generation": 1}')
    events = EventWriter(tmp_path / "runs" / run / "events.jsonl")
    events.emit("run_started", recipe="toy", overrides=[])
    events.emit("step_started", step="sft", key=run * 8, attempt_dir=str(attempt))
    events.close()
    mirror = Mirror(tmp_path, [run], store_uri)
    mirror.look()
    s3.requests.clear()
    mirror.look()
    assert not s3.requests, "parts come every few seconds, the mirror looks twice a second"

    target = mirror.targets[attempt.parent.parent, "generation-1"]
    monkeypatch.setattr(target.series.lines[0], "_every", 0.0)
    for number in range(1, 6):
        storage.put(attempt / "logs" / f"events.jsonl.{number:06d}", part(number, 1.0 / number))
        mirror.look()
        mirror.look()
    fetched = [path for method, path in s3.requests if method == "GET" and "events.jsonl." in path]
    assert len(fetched) == len(set(fetched)) == 5
    listed = [path for method, path in s3.requests if method == "GET" and path.strip("/") == "kitchen"]
    assert len(listed) <= 15
    sent = mirror.store.client.get_metric_history(target.run, "loss")
    assert [point.value for point in sent] == pytest.approx([1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5])

    monkeypatch.setattr(target.series.lines[0], "_every", 60.0)
    s3.requests.clear()
    mirror.look(gone=True)
    asked = len(s3.requests)
    assert not [path for _, path in s3.requests if "events.jsonl" in path], "no look at each part"
    mirror.look(gone=True)
    assert len(s3.requests) == asked, "the next look comes later"
    assert not mirror.done
    monkeypatch.setattr("pipelines.tracking.files.SETTLE_REMOTE_S", 0.0)
    monkeypatch.setattr("pipelines.tracking.files.IDLE_S", -1.0)
    mirror.look(gone=True)
    assert mirror.store.client.get_run(target.run).info.status == "KILLED"


def test_when_a_folder_was_last_written(s3, tmp_path: Path) -> None:
    before = datetime.now(UTC).timestamp()
    for folder in (tmp_path, storage.place("s3://kitchen/logs")):
        assert storage.last_write(folder / "none") == 0.0
        storage.put(folder / "a.txt", b"a")
        assert abs(storage.last_write(folder) - before) < 60
    os.utime(tmp_path / "a.txt", (5.0, 5.0))
    assert storage.last_write(tmp_path) == 5.0


def test_looks_at_a_bucket_are_as_far_apart_as_its_parts(s3) -> None:
    attempt = storage.place("s3://kitchen/x")
    lines = Lines(attempt)
    assert not list(lines.pieces(now=False))
    storage.put(attempt / "logs" / "events.jsonl.000001", part(1, 1.0))
    assert not list(lines.pieces(now=False))
    assert list(lines.pieces(now=True)), "unless the step has ended"
