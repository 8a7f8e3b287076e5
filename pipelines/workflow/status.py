"""How things stand, derived from what is there and never stored: committed artifact > live worker > fresh lease >
LOST."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.core.events import read_events
from pipelines.core.storage import place
from pipelines.workflow import lease, process
from pipelines.workflow.attempt import read_units
from pipelines.workflow.execute import Outcome
from pipelines.workflow.files import read_json
from pipelines.workflow.runs import RunRecord
from pipelines.workflow.store import Store


@dataclass(frozen=True)
class StepStatus:
    """``state``: done, running, starting, failed, stopped, LOST or waiting. ``done``/``total`` count ``unit`` (shards,
    steps) as the stage last said; ``age_s`` is how long ago it said anything."""

    step: str
    stage: str
    key: str
    state: str
    attempt: int = 0
    units: int = 0
    done: int | None = None
    total: int | None = None
    unit: str = ""
    age_s: float | None = None
    log: str = ""
    note: str = ""


def run_status(store: Store, run: RunRecord) -> list[StepStatus]:
    """Every step of a run, in its order."""
    return [step_status(store, row, since=float(run.data["started"])) for row in run.data["steps"]]


def step_status(store: Store, row: Mapping[str, Any], *, since: float) -> StepStatus:
    """One step; ``row`` is its line in the run record. A failure older than ``since`` belongs to an earlier run."""
    base = {"step": row["step"], "stage": row["stage"], "key": row["key"]}
    record = store.find(row["stage"], row["key"])
    if record is not None and record.generation >= row["generation"]:
        return StepStatus(**base, state="done", units=0)
    folder = place(row["folder"])
    attempts = store.attempts(folder, row["generation"])
    held = lease.holder(folder)
    if not attempts:
        return StepStatus(**base, state="starting" if held else "waiting")
    number, attempt = attempts[-1]
    about = read_json(attempt / "attempt.json") or {}
    outcome = Outcome.read(attempt)
    worker = read_json(attempt / "worker.json")
    state, note = _state(outcome, worker, held, fresh=float(about.get("created", 0)) >= since)
    last: dict[str, Any] = {}
    progress: dict[str, Any] = {}
    for event in read_events(attempt / "logs" / "events.jsonl"):
        last = event
        if event["kind"] == "progress":
            progress = event
    return StepStatus(
        **base,
        state=state,
        note=note,
        attempt=number,
        units=len(read_units(attempt)),
        done=progress.get("done"),
        total=progress.get("total"),
        unit=progress.get("unit", ""),
        age_s=round(time.time() - last["t"], 1) if last else None,
        log=str(attempt / "logs" / "job.log"),
    )


def _state(outcome: Outcome | None, worker: Any, held: Any, *, fresh: bool) -> tuple[str, str]:
    if outcome is not None:
        if held is not None and outcome.failure == "infra":
            return "starting", "another attempt follows"
        if not fresh:
            return "waiting", ""
        return ("stopped" if outcome.status == "killed" else "failed"), outcome.what
    alive = process.is_alive(worker) if worker else None
    if alive:
        return "running", "" if held else "its command is gone; the next run attaches to it"
    if held is not None:
        return ("running" if worker is None or alive is None else "starting"), ""
    return "LOST", "its process is gone; run the same command again, finished units are kept"
