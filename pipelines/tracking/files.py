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
from pipelines.tracking.desired import Input, RunFiles, StepFiles, fold
from pipelines.workflow import lease, process
from pipelines.workflow.files import read_json
from pipelines.workflow.runs import find_run
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
    if alive is not None:
        return not alive
    if record.events_file.exists() and time.time() - record.events_file.stat().st_mtime < ABSENT_S:
        return False
    held = (lease.holder(storage.place(row["folder"])) for row in record.data["steps"])
    return not any(item is not None and item["run_id"] == run_id for item in held)


class RunReader:
    """``look`` gives the run as its files tell it now. What a remote store did not give comes with the next look."""

    def __init__(self, home: Path, run_id: str, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self.run = RunFiles(run_id, home / "runs" / run_id)
        self._record = home / "runs" / f"{run_id}.json"
        self._events = Trail(self.run.folder / "events.jsonl")
        self._stale: set[str] = set()
        self._settled = -SETTLE_REMOTE_S

    def look(self) -> RunFiles:
        for event in parse_events(self._events.lines()):
            try:
                self.run = fold(self.run, event)
            except (LookupError, TypeError) as error:
                self.warn(f"passed over an event {event.get('kind')}: {type(error).__name__}: {error}")
                continue
            if event["kind"] == "run_started":
                self.run = replace(self.run, code=(read_json(self._record) or {}).get("code") or {})
            if event["kind"] in ("step_started", "step_finished"):
                self._stale.add(event["step"])
        for name in list(self._stale):
            self.run = self.run.with_step(name, _read(self.run.steps[name]))
            self._stale.remove(name)
        return self.run

    def settle(self, *, leave: bool) -> RunFiles:
        """For a run whose driver is gone without an end: bring its steps in flight to their true end, as far as their files
        know it. The run counts as killed when there are none, or when the mirror cannot wait (``leave``): a job outlives
        its driver."""
        if self.run.end is not None or not self.run.started:
            return self.run
        flying = [name for name, step in self.run.steps.items() if step.told["status"] == "running"]
        remote = any(isinstance(self.run.steps[name].attempt, storage.Remote) for name in flying)
        if not remote or time.monotonic() - self._settled >= SETTLE_REMOTE_S:
            self._settled = time.monotonic()
            for name in flying:
                self.run = self.run.with_step(name, _end_of(_read(self.run.steps[name])))
        if leave or not any(step.told["status"] == "running" for step in self.run.steps.values()):
            self.run = replace(self.run, end=("KILLED", time.time()))
        return self.run


def _read(step: StepFiles) -> StepFiles:
    """The step with what lies in its folder. A failed attempt of a key that was made later has a result too."""
    folder, attempt = step.folder, step.attempt
    if folder is None:
        return step
    begun, spec, outcome = (
        (attempt and read_json(attempt / f"{name}.json")) or {} for name in ("attempt", "spec", "outcome")
    )
    generation, record = int(begun.get("generation", 1)), read_record(folder)
    if record is not None and record.generation >= generation:
        generation = record.generation
        step = replace(step, record=record.data, places=_places(record), inputs=_data_inputs(record))
    attempts = tuple(path for _, path in Store(folder.parent.parent).attempts(folder, generation))
    document = spec.get("document", {})
    return replace(step, generation=generation, document=document, outcome=outcome, attempts=attempts)


def _end_of(step: StepFiles) -> StepFiles:
    """A step in flight without a driver, at its end if it has reached one."""
    if step.record:
        return replace(step, told={**step.told, "status": "ok"})
    attempt = step.attempt
    assert attempt is not None
    status, ended, worker = step.outcome.get("status", "ok"), time.time(), read_json(attempt / "worker.json")
    if status == "ok":
        alive = process.is_alive(worker) if worker else None
        if alive is None:
            heard = storage.last_write(attempt / "logs")
            heard = max(heard, attempt.stat().st_mtime) if isinstance(attempt, Path) else heard
            alive, ended = time.time() - heard <= IDLE_S, heard
        status = "running" if alive else "killed"
    return replace(step, told={**step.told, "status": status, "t": ended})


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
