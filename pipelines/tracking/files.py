"""Reads the files of one pipeline run, each byte of its events once, and those of a step when an event says that they
changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.events import parse_events
from pipelines.core.trail import Trail
from pipelines.tracking import state
from pipelines.tracking.desired import Input, RunFiles, StepFiles, fold
from pipelines.workflow import lease, process
from pipelines.workflow.files import read_json
from pipelines.workflow.runs import RunRecord, find_run
from pipelines.workflow.store import Record, Store, read_record

IDLE_S = 180.0
"""A step without driver, whose process cannot be asked and whose logs were silent for so many seconds counts as dead."""
ABSENT_S = 3600.0
"""So does, after so many seconds without a heartbeat of its steps or an event, the driver of a run on another host."""
SETTLE_REMOTE_S = 10.0
"""How often the steps of a driver that is gone are looked at in a remote store."""


def driver_gone(home: Path, run_id: str) -> bool:
    """Whether nobody works on a run any more. A process of another host cannot be asked: the heartbeats of its leases and
    its events speak for it."""
    record = find_run(home, run_id)
    if record is None:
        return True
    alive = process.is_alive(record.data["driver"])
    return not alive if alive is not None else not _heard(record)


def _heard(record: RunRecord) -> bool:
    if record.events_file.exists() and time.time() - record.events_file.stat().st_mtime < ABSENT_S:
        return True
    held = (lease.holder(storage.place(row["folder"])) for row in record.data["steps"])
    return any(item is not None and item["run_id"] == record.run_id for item in held)


class RunReader:
    """``look`` gives the run as its files tell it now. What a remote store did not give comes with the next look."""

    def __init__(self, home: Path, run_id: str, uri: str, warn: Callable[[str], None]) -> None:
        folder = home / "runs" / run_id
        self.uri, self.warn = uri, warn
        self.run = RunFiles(run_id, folder)
        self._record = home / "runs" / f"{run_id}.json"
        self._events = Trail(folder / "events.jsonl")
        self._stale: set[str] = set()
        self._settled = -SETTLE_REMOTE_S

    def look(self) -> RunFiles:
        for event in parse_events(self._events.lines()):
            try:
                self.run = fold(self.run, event)
            except (LookupError, TypeError, ValueError) as error:
                self.warn(f"passed over an event {event.get('kind')}: {type(error).__name__}: {error}")
                continue
            if event["kind"] == "run_started":
                self.run = replace(self.run, code=(read_json(self._record) or {}).get("code") or {})
            if event["kind"] in ("step_started", "step_finished"):
                self._stale.add(event["step"])
        for name in list(self._stale):
            self.run = self.run.with_step(self._read(self.run.steps[name]))
            self._stale.remove(name)
        return self.run

    def settle(self, *, leave: bool) -> RunFiles:
        """For a run whose driver is gone without an end: bring its steps in flight to their true end, as far as their files
        know it. The run counts as killed when there are none, or when the mirror cannot wait (``leave``): a job outlives
        its driver."""
        if self.run.end is not None or not self.run.started:
            return self.run
        flying = [step for step in self.run.steps.values() if step.status == "running"]
        if not any(isinstance(step.attempt, storage.Remote) for step in flying) or self._due():
            for step in flying:
                self.run = self.run.with_step(_end_of(self._read(step)))
        if leave or not any(step.status == "running" for step in self.run.steps.values()):
            self.run = replace(self.run, end=("KILLED", time.time()))
        return self.run

    def _due(self) -> bool:
        due = time.monotonic() - self._settled >= SETTLE_REMOTE_S
        self._settled = time.monotonic() if due else self._settled
        return due

    def _read(self, step: StepFiles) -> StepFiles:
        """The step with what lies in its folder. A failed attempt of a key that was made later has a result too."""
        folder, attempt = step.folder, step.attempt
        if folder is None:
            return step
        if attempt is not None:
            generation = int((read_json(attempt / "attempt.json") or {}).get("generation", 1))
            document = (read_json(attempt / "spec.json") or {}).get("document", {})
            what = (read_json(attempt / "outcome.json") or {}).get("what") or step.what
            step = replace(step, generation=generation, document=document, what=what)
        record = read_record(folder)
        record = record if record is not None and record.generation >= step.generation else None
        generation = record.generation if record else step.generation
        attempts = Store(folder.parent.parent).attempts(folder, generation)
        step = replace(step, generation=generation, attempts=tuple(path for _, path in attempts))
        if record is None:
            return step
        known = state.load(folder, self.uri, f"generation-{generation}")
        whole = known.get("content") == record.content_digest
        return replace(
            step,
            stage=record.data["stage"],
            record=record.data,
            places=_places(record),
            inputs=_data_inputs(record),
            known=known if whole else {},
        )


def _end_of(step: StepFiles) -> StepFiles:
    assert step.attempt is not None
    if step.record:
        return replace(step, status="ok", ended=float(step.record["created"]))
    outcome, worker = read_json(step.attempt / "outcome.json") or {}, read_json(step.attempt / "worker.json")
    if outcome.get("status", "ok") != "ok":
        return replace(step, status=outcome["status"], ended=time.time())
    if worker and (alive := process.is_alive(worker)) is not None:
        return step if alive else replace(step, status="killed", ended=time.time())
    heard = storage.last_write(step.attempt / "logs")
    if isinstance(step.attempt, Path):
        heard = max(heard, step.attempt.stat().st_mtime)
    return replace(step, status="killed", ended=heard) if time.time() - heard > IDLE_S else step


def _places(record: Record) -> Mapping[str, str]:
    manifest: Any = read_json(record.folder / record.data["manifest"]) or {}
    return dict(manifest.get("attendant", {}).get("places", {}))


def _data_inputs(record: Record) -> tuple[Input, ...]:
    """The inputs that hold shards; models and other inputs are tags only."""
    found = []
    for item in (item for items in record.data["inputs"].values() for item in items):
        source = read_record(storage.place(item["folder"]))
        if source is None or not any(name.startswith("shards/") for name in _places(source)):
            continue
        profile = {"samples": source.stats.get("samples"), "bytes": source.data["bytes"], "files": source.data["files"]}
        found.append(Input(item["step"], item["content_digest"], item["folder"], str(record.data["stage"]), profile))
    return tuple(found)
