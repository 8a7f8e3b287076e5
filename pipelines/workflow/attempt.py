"""One try at a step, and the ledger that makes tries cheap to repeat.

A unit of work (a shard, a checkpoint) writes its files first and its small receipt last. A new attempt of the same key
reads the receipts of the earlier ones and skips what they finished, so a killed stage loses only the units in flight.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.events import EventWriter
from pipelines.workflow.files import read_json, write_json

UNIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,120}")
RESERVED = ("units", "logs", "scratch", "manifest.json", "attempt.json", "spec.json", "worker.json", "outcome.json")
"""Names inside an attempt that belong to the workflow; everything else is the stage's result."""


@dataclass(frozen=True)
class Attempt:
    """What a stage gets to write into. ``dir`` is a local folder; all files under it but ``RESERVED`` become the
    result.

    ``limit`` is the ``--limit N`` of the run (only the first N inputs) or None. ``elders`` are earlier attempts
    of the same key and generation, oldest first.
    """

    dir: Path
    root: Path
    limit: int | None = None
    elders: tuple[Path, ...] = ()

    @cached_property
    def events(self) -> EventWriter:
        """Progress, metrics and notes of this step: ``logs/events.jsonl``."""
        return EventWriter(self.dir / "logs" / "events.jsonl")

    @cached_property
    def scratch(self) -> Path:
        """A folder for what is not part of the result; removed after the commit."""
        folder = self.dir / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def commit_unit(self, unit: str, receipt: Mapping[str, Any]) -> None:
        """Say that a unit is whole: call it after its files are closed. ``receipt["files"]`` lists their logical names;
        the rest of the receipt is the stage's own small JSON.

        Raises ConfigError for a bad unit name, DataError when a listed file is not there.
        """
        if not UNIT_NAME.fullmatch(unit):
            raise ConfigError(f"'{unit}' is no unit name", why=f"names match {UNIT_NAME.pattern}")
        for name in receipt.get("files", ()):
            if not (self.dir / name).is_file():
                raise DataError(f"unit '{unit}' lists a file that is not there", where=str(self.dir / name))
        write_json(
            self.dir / "units" / f"{unit}.json", {"unit": unit, "time": round(time.time(), 3), "receipt": dict(receipt)}
        )

    def units(self) -> dict[str, dict[str, Any]]:
        """Receipts of the units finished by this attempt or an elder, by name, sorted. A receipt whose files are gone
        does not count."""
        found: dict[str, dict[str, Any]] = {}
        for folder in (*self.elders, self.dir):
            found.update(read_units(folder))
        return dict(sorted(found.items()))

    def path(self, name: str) -> Path:
        """Where a logical name lies: in this attempt, else in the youngest elder that holds it; for a name nobody
        wrote yet, the place in this attempt to write it to."""
        for folder in (self.dir, *reversed(self.elders)):
            if (folder / name).exists():
                return folder / name
        return self.dir / name

    def places(self) -> dict[str, Path]:
        """Logical name -> file of the result: the files of adopted units, then everything written in this attempt."""
        found: dict[str, Path] = {}
        for folder in self.elders:
            for receipt in read_units(folder).values():
                found.update({name: folder / name for name in receipt.get("files", ())})
        for path in self.dir.rglob("*"):
            relative = path.relative_to(self.dir)
            if relative.parts[0] not in RESERVED and path.is_file():
                found[relative.as_posix()] = path
        return dict(sorted(found.items()))


def read_units(folder: Path) -> dict[str, dict[str, Any]]:
    """Unit name -> receipt of one attempt's folder, leaving out torn receipts and those whose files are gone."""
    found = {}
    for path in sorted((folder / "units").glob("*.json")):
        loaded = read_json(path)
        if loaded and all((folder / name).is_file() for name in loaded["receipt"].get("files", ())):
            found[loaded["unit"]] = loaded["receipt"]
    return found
