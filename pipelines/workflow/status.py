"""How a run stands, derived from what is there and never stored: committed artifact > live worker > fresh lease > LOST."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.core.events import read_events
from pipelines.core.storage import Place, about, names, place
from pipelines.workflow import lease, process
from pipelines.workflow.execute import Outcome
from pipelines.workflow.files import read_json
from pipelines.workflow.runs import RunRecord
from pipelines.workflow.store import Record, Store


@dataclass(frozen=True)
class Try:
    """One attempt, from ``started`` to ``ended`` (seconds since the epoch). ``state``: ok, failed, stopped, running, gone;
    ``done``/``total`` count ``unit`` as the stage last said, at ``heard``; ``units`` are finished ones."""

    number: int
    state: str
    started: float
    ended: float
    units: int = 0
    note: str = ""
    log: str = ""
    done: int | None = None
    total: int | None = None
    unit: str = ""
    heard: float | None = None


@dataclass(frozen=True)
class StepStatus:
    """One step of a run. ``state``: done, running, starting, failed, stopped, LOST or waiting; ``decision`` is what the
    plan said. Of a committed result: when it was ``made``, in how many ``seconds``, and its figures."""

    step: str
    stage: str
    key: str
    state: str
    note: str
    decision: str
    reasons: tuple[str, ...]
    inputs: tuple[str, ...]
    generation: int
    folder: str
    tries: tuple[Try, ...]
    made: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    samples: float | None = None
    metric: tuple[str, float] | None = None

    @property
    def last(self) -> Try | None:
        """The try that is under way or ended badly; None for a step that is done or was never tried."""
        return self.tries[-1] if self.tries and self.state != "done" else None

    def as_json(self) -> dict[str, Any]:
        """Stable JSON of ``status --json``."""
        last = self.last or Try(0, "", 0.0, 0.0)
        counts = {name: getattr(last, name) for name in ("units", "done", "total", "unit")}
        age = round(time.time() - last.heard, 1) if last.heard else None
        about = {name: getattr(self, name) for name in ("step", "stage", "key", "state", "note")}
        return {**about, "attempt": last.number, **counts, "age_s": age, "log": last.log}


@dataclass(frozen=True)
class RunStatus:
    """A whole run, from ``started`` to ``ended`` (seconds since the epoch; now, while it goes on). ``state``: running, ok,
    failed, stopped or gone (its command was killed)."""

    run_id: str
    recipe: str
    overrides: tuple[str, ...]
    state: str
    started: float
    ended: float
    steps: tuple[StepStatus, ...]

    def __getitem__(self, step: str) -> StepStatus:
        return next(item for item in self.steps if item.step == step)


def run_status(store: Store, run: RunRecord) -> RunStatus:
    """Everything that can be seen of a run; the last word for the terminal, for JSON and for the page."""
    started, end = float(run.data["started"]), run.end
    steps = tuple(_step(store, row, since=started) for row in run.data["steps"])
    if end is not None:
        ended, state = float(end["t"]), {"killed": "stopped"}.get(end["status"], end["status"])
    elif process.is_alive(run.data["driver"]) is False:
        state, ended = "gone", max((one.ended for row in steps for one in row.tries), default=started)
    else:
        state, ended = "running", time.time()
    about = (run.run_id, run.data["recipe"], tuple(run.data["overrides"]))
    return RunStatus(*about, state, started, max(started, ended), steps)


def _step(store: Store, row: Mapping[str, Any], *, since: float) -> StepStatus:
    """``row`` is the step's line in the run record. A failure older than ``since`` belongs to an earlier run."""
    record = store.find(row["stage"], row["key"])
    if record is not None and record.generation < row["generation"]:
        record = None
    folder = record.folder if record is not None else place(row["folder"])
    held = None if record is not None else lease.holder(folder)
    attempts = store.attempts(folder, row["generation"])
    found = [_try(number, path, record, held is not None and number == attempts[-1][0]) for number, path in attempts]
    state, note = "done", ""
    if record is None:
        state, note = _state(*found[-1], held, since) if found else ("starting" if held else "waiting", "")
    stats = record.stats if record is not None else {}
    metric = stats.get("main_metric")
    return StepStatus(
        **{name: row[name] for name in ("step", "stage", "key", "decision", "generation")},
        state=state,
        note=note,
        reasons=tuple(row["reasons"]),
        inputs=tuple(dict.fromkeys(name for parents in row["inputs"].values() for name in parents)),
        folder=str(folder),
        tries=tuple(one for one, _ in found),
        **{name: record.data[key] for name, key in FIGURES.items()} if record is not None else {},
        samples=stats.get("samples"),
        metric=(metric[0], metric[1]) if metric and isinstance(metric[1], int | float) else None,
    )


FIGURES = {"made": "created", "seconds": "seconds", "bytes": "bytes"}
"""Fields of a status and what they are called in ``artifact.json``."""


def _state(last: Try, failure: str, held: Any, since: float) -> tuple[str, str]:
    """(state, note) of a step that is not done, from its newest try."""
    if last.state not in ("running", "gone"):
        if held is not None and failure == "infra":
            return "starting", "another attempt follows"
        if last.started < since:
            return "waiting", ""
        return "stopped" if last.state == "stopped" else "failed", last.note
    if last.state == "running":
        return "running", "" if held else "its command is gone; the next run attaches to it"
    gone = "its process is gone; run the same command again, finished units are kept"
    return ("starting", "") if held else ("LOST", gone)


def _try(number: int, path: Place, record: Record | None, held: bool) -> tuple[Try, str]:
    """An attempt, and the class of its failure. Without an outcome it works while its process lives, or may live on another
    host and ``held`` says that somebody looks after it."""
    log, begun = str(path / "logs" / "job.log"), float((read_json(path / "attempt.json") or {}).get("created", 0.0))
    units = len(names(path / "units"))
    if record is not None and record.data["attempt"] == path.name:
        return Try(number, "ok", begun, float(record.data["created"]), units, log=log), ""
    last: dict[str, Any] = {}
    progress: dict[str, Any] = {}
    for last in read_events(path / "logs" / "events.jsonl"):
        progress = last if last["kind"] == "progress" else progress
    heard = last.get("t")
    ended = max(begun, heard or 0.0)
    outcome = Outcome.read(path)
    if outcome is not None:
        state = {"ok": "ok", "killed": "stopped"}.get(outcome.status, "failed")
        ended = max(ended, about(path / "outcome.json").written)
    else:
        worker = read_json(path / "worker.json")
        alive = process.is_alive(worker) if worker else None
        state = "running" if alive or (held and alive is None) else "gone"
        ended = time.time() if state == "running" else ended
    counts = (progress.get("done"), progress.get("total"), progress.get("unit", ""))
    note, failure = (outcome.what, outcome.failure or "") if outcome is not None else ("", "")
    return Try(number, state, begun, ended, units, note, log, *counts, heard), failure
