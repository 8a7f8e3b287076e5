"""What every run did: ``{home}/runs/{run_id}.json`` says what it set out to do, ``runs/{run_id}/events.jsonl`` what
happened. Neither says how things stand now; that is derived (``status``). ``runs/{run_id}/cancel/`` holds wishes that a
step be stopped."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.events import EventWriter, read_events
from pipelines.core.storage import INSTALLED, names
from pipelines.workflow import process
from pipelines.workflow.files import create_json, read_json
from pipelines.workflow.plan import Plan
from pipelines.workflow.provenance import code_identity

EVERY_STEP = "_all"


@dataclass(frozen=True)
class RunRecord:
    """One call of ``cookhouse run``."""

    root: Path
    run_id: str
    data: Mapping[str, Any]

    def ask_to_stop(self, step: str | None = None) -> None:
        """Leave the wish that this run, or one step of it, be stopped; its driver sees it within a second."""
        folder = self.root / "runs" / self.run_id / "cancel"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (step or EVERY_STEP)).touch()

    def asked_to_stop(self) -> set[str]:
        """Steps somebody wants stopped; ``EVERY_STEP`` for all."""
        return set(names(self.root / "runs" / self.run_id / "cancel"))

    @property
    def events_file(self) -> Path:
        return self.root / "runs" / self.run_id / "events.jsonl"

    @property
    def going(self) -> bool:
        """Whether its command still works on it, as far as this machine can tell."""
        return process.is_alive(self.data["driver"]) is not False and self.end is None

    @property
    def end(self) -> dict[str, Any] | None:
        """Its event ``run_finished`` with time and status, None while it goes on and where its command was killed."""
        return next((event for event in read_events(self.events_file) if event["kind"] == "run_finished"), None)

    def events(self) -> EventWriter:
        return EventWriter(self.events_file)


def create_run(
    root: Path,
    plan: Plan,
    *,
    recipe: str,
    overrides: Sequence[str],
    backend: str,
    limit: int | None,
    selection: Mapping[str, Sequence[str]],
    sweep: str = "",
    folder: Path | None = None,
) -> RunRecord:
    """Write down what a run is about to do. ``selection``: the steps that were asked for, by option; ``sweep``: the id of
    the sweep it is a combination of; ``folder``: what its relative paths are relative to."""
    cwd = folder or Path.cwd()
    while True:
        run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        data = {
            "run_id": run_id,
            "recipe": recipe,
            "overrides": list(overrides),
            "limit": limit,
            "selection": dict(selection),
            **({"sweep": sweep} if sweep else {}),
            "backend": backend,
            "cwd": str(cwd),
            "conf": (cwd / "conf").is_dir(),
            "started": round(time.time(), 3),
            "driver": process.identity(),
            "code": code_identity(INSTALLED),
            "steps": [step.as_json() for step in plan.steps],
        }
        if create_json(root / "runs" / f"{run_id}.json", data):
            return RunRecord(root, run_id, data)


def find_run(root: Path, run_id: str | None = None) -> RunRecord | None:
    """A run by its id, or the newest one; None when there is none."""
    if run_id is None:
        return next(newest_runs(root), None)
    data = read_json(root / "runs" / f"{run_id}.json")
    return RunRecord(root, run_id, data) if data else None


def newest_runs(root: Path) -> Iterator[RunRecord]:
    """All runs, the newest first; ids say it to the second, the records to the millisecond."""
    known = sorted((path.stem for path in (root / "runs").glob("*.json")), reverse=True)
    for _, names_of_second in itertools.groupby(known, key=lambda name: name[: len("20261124-101530")]):
        found = filter(None, (find_run(root, name) for name in names_of_second))
        yield from sorted(found, key=lambda run: -float(run.data["started"]))


def keys_of_runs(root: Path, newest: int | None) -> set[str]:
    """Keys of the steps of the newest runs (None: of all), and of every run whose command is at work; the runs of one
    sweep count as one."""
    keys: set[str] = set()
    seen: set[str] = set()
    for run in newest_runs(root):
        seen.add(run.data.get("sweep") or run.run_id)
        if newest is None or len(seen) <= newest or run.going:
            keys |= {row["key"] for row in run.data["steps"]}
    return keys
