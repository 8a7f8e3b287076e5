"""What every run did: ``{home}/runs/{run_id}.json`` says what it set out to do, ``runs/{run_id}/events.jsonl`` what
happened. Neither says how things stand now; that is derived (``status``). ``runs/{run_id}/cancel/`` holds wishes that a
step be stopped."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.events import EventWriter
from pipelines.core.places import names
from pipelines.workflow import process
from pipelines.workflow.files import create_json, read_json
from pipelines.workflow.plan import Plan

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

    def events(self) -> EventWriter:
        return EventWriter(self.events_file)


def create_run(
    root: Path, plan: Plan, *, recipe: str, overrides: Sequence[str], backend: str, limit: int | None
) -> RunRecord:
    """Write down what a run is about to do."""
    while True:
        run_id = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        data = {
            "run_id": run_id,
            "recipe": recipe,
            "overrides": list(overrides),
            "limit": limit,
            "backend": backend,
            "cwd": str(Path.cwd()),
            "started": round(time.time(), 3),
            "driver": process.identity(),
            "steps": [step.as_json() for step in plan.steps],
        }
        if create_json(root / "runs" / f"{run_id}.json", data):
            return RunRecord(root, run_id, data)


def find_run(root: Path, run_id: str | None = None) -> RunRecord | None:
    """A run by its id, or the newest one; None when there is none."""
    known = sorted(path.stem for path in (root / "runs").glob("*.json")) if run_id is None else [run_id]
    data = read_json(root / "runs" / f"{known[-1]}.json") if known else None
    return RunRecord(root, known[-1], data) if data else None
