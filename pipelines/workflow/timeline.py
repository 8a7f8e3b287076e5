"""A run as a picture can show it: the graph, and for every step its tries with their times. Read from the files a run
leaves, like ``status``; nothing here is stored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core import storage
from pipelines.core.events import read_events
from pipelines.core.storage import Place
from pipelines.workflow import process
from pipelines.workflow.attempt import read_units
from pipelines.workflow.execute import Outcome
from pipelines.workflow.files import read_json
from pipelines.workflow.runs import RunRecord
from pipelines.workflow.status import StepStatus, step_status
from pipelines.workflow.store import Store


@dataclass(frozen=True)
class Try:
    """One attempt: seconds since the epoch, and what it finished. ``state``: ok, failed, stopped, running, gone."""

    number: int
    state: str
    started: float
    ended: float
    units: int = 0
    note: str = ""
    log: str = ""


@dataclass(frozen=True, kw_only=True)
class Row(StepStatus):
    """One step and how it stands now. ``decision`` is what the plan said; ``made`` is when the committed result was made,
    in seconds since the epoch, and ``seconds`` how long it took."""

    decision: str
    inputs: tuple[str, ...]
    tries: tuple[Try, ...]
    folder: str
    reasons: tuple[str, ...] = ()
    made: float | None = None
    seconds: float | None = None
    bytes: int | None = None
    samples: float | None = None
    metric: tuple[str, float] | None = None
    generation: int = 1


@dataclass(frozen=True)
class Timeline:
    """A whole run, from ``started`` to ``ended`` (seconds since the epoch; now, while it goes on)."""

    run_id: str
    recipe: str
    overrides: tuple[str, ...]
    state: str
    started: float
    ended: float
    rows: tuple[Row, ...]


def read_timeline(store: Store, run: RunRecord) -> Timeline:
    """Everything about one run. ``state``: running, ok, failed, stopped or gone (its command was killed)."""
    started = float(run.data["started"])
    ended, state = None, ""
    for event in read_events(run.events_file):
        if event["kind"] == "run_finished":
            ended, state = float(event["t"]), {"killed": "stopped"}.get(event["status"], event["status"])
    rows = tuple(_row(store, row, started) for row in run.data["steps"])
    if ended is None:
        state = "gone" if process.is_alive(run.data["driver"]) is False else "running"
        last = [one.ended for row in rows for one in row.tries if one.ended >= started]
        ended = time.time() if state == "running" else max(last, default=started)
    return Timeline(run.run_id, run.data["recipe"], tuple(run.data["overrides"]), state, started, ended, rows)


def _row(store: Store, planned: Mapping[str, Any], since: float) -> Row:
    status = step_status(store, planned, since=since)
    record = store.find(planned["stage"], planned["key"])
    if record is not None and record.generation < planned["generation"]:
        record = None
    folder = record.folder if record is not None else storage.place(planned["folder"])
    winner = str(record.data["attempt"]) if record is not None else ""
    tries = tuple(
        _try(number, path, planned["generation"], path.name == winner, record, status.state)
        for number, path in store.attempts(folder, planned["generation"])
    )
    stats = record.stats if record is not None else {}
    metric = stats.get("main_metric")
    return Row(
        **vars(status),
        decision=planned["decision"],
        inputs=tuple(dict.fromkeys(name for names in planned["inputs"].values() for name in names)),
        tries=tries,
        folder=str(folder),
        reasons=tuple(planned["reasons"]),
        made=float(record.data["created"]) if record is not None else None,
        seconds=float(record.data["seconds"]) if record is not None else None,
        bytes=int(record.data["bytes"]) if record is not None else None,
        samples=stats.get("samples"),
        metric=(metric[0], metric[1]) if metric and isinstance(metric[1], int | float) else None,
        generation=planned["generation"],
    )


def _try(number: int, path: Place, generation: int, won: bool, record: Any, state: str) -> Try:
    about = read_json(path / "attempt.json") or {}
    begun = float(about.get("created", 0.0))
    outcome = Outcome.read(path)
    times = [begun, *(float(event["t"]) for event in read_events(path / "logs" / "events.jsonl"))]
    times += [float((read_json(path / "units" / name) or {}).get("time", 0)) for name in storage.names(path / "units")]
    if won:
        found, end = "ok", float(record.data["created"])
    elif outcome is not None:
        found = {"ok": "ok", "killed": "stopped"}.get(outcome.status, "failed")
        end = max([*times, storage.about(path / "outcome.json").written])
    elif state in ("running", "starting") and process.is_alive(read_json(path / "worker.json") or _NOBODY) is not False:
        found, end = "running", time.time()
    else:
        found, end = "gone", max(times)
    note = outcome.what if outcome is not None and found == "failed" else ""
    return Try(number, found, begun, end, len(read_units(path)), note, str(path / "logs" / "job.log"))


_NOBODY = {"host": "", "pid": 0, "start": None}


def layers(inputs: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Step -> (column, row) of a drawing from left to right: a column further right than every input, rows near the
    inputs' rows. Steps come in topological order."""
    column: dict[str, int] = {}
    for name, parents in inputs.items():
        column[name] = max((column[parent] + 1 for parent in parents if parent in column), default=0)
    place: dict[str, tuple[int, int]] = {}
    for depth in range(max(column.values(), default=-1) + 1):
        names = [name for name in column if column[name] == depth]
        height = {
            name: sum(place[parent][1] for parent in inputs[name] if parent in place)
            / max(1, sum(parent in place for parent in inputs[name]))
            for name in names
        }
        for row, name in enumerate(sorted(names, key=lambda name: (height[name], list(inputs).index(name)))):
            place[name] = (depth, row)
    return place
