"""One try at a step, and the ledger that makes tries cheap to repeat.

A unit of work (a shard, a checkpoint) writes its files first and its small receipt last. A new attempt of the same key
reads the receipts of the earlier ones and skips what they finished, so a killed stage loses only the units in flight.

In a local store an attempt is worked on where it lies. In a remote one the stage writes into a local folder all the
same; ``commit_unit`` carries a unit's files up and puts its receipt there last.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.events import EventWriter
from pipelines.core.executor import Executor, InProcess
from pipelines.workflow.files import read_json, write_json

UNIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,120}")
RESERVED = (
    "units",
    "logs",
    "scratch",
    "elders",
    "manifest.json",
    "attempt.json",
    "spec.json",
    "worker.json",
    "outcome.json",
)
"""Names inside an attempt that belong to the workflow; everything else is the stage's result."""


@dataclass(frozen=True)
class Attempt:
    """What a stage gets to write into. ``dir`` is a local folder; all files under it but ``RESERVED`` become the
    result.

    ``root`` is the artifact's folder in the store and ``place`` the attempt's (``dir`` itself in a local store).
    ``limit`` is the ``--limit N`` of the run (only the first N inputs) or None. ``elders`` are earlier attempts
    of the same key and generation, oldest first. ``executor`` runs the pieces of the work.
    """

    dir: Path
    root: Path
    limit: int | None = None
    elders: tuple[Path, ...] = ()
    remote: Path | None = None
    executor: Executor = field(default_factory=InProcess)

    @property
    def place(self) -> Path:
        """Where the store keeps this attempt."""
        return self.remote or self.dir

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
        """Say that a unit is whole: call it after its files are closed. ``receipt["files"]`` lists the logical names of
        its part of the result, ``receipt["state"]`` those of files a later attempt goes on from (a checkpoint) that are
        no result, ``receipt["digests"]`` the sha256 of files that were hashed on their way to the disk, so that the commit
        need not read them again; the rest of the receipt is the stage's own small JSON.

        Raises ConfigError for a bad unit name, DataError when a listed file is not there.
        """
        if not UNIT_NAME.fullmatch(unit):
            raise ConfigError(f"'{unit}' is no unit name", why=f"names match {UNIT_NAME.pattern}")
        for name in _named(receipt):
            if not (self.dir / name).is_file():
                raise DataError(f"unit '{unit}' lists a file that is not there", where=str(self.dir / name))
        self.carry_up(_named(receipt))
        write_json(
            self.place / "units" / f"{unit}.json",
            {"unit": unit, "time": round(time.time(), 3), "receipt": dict(receipt)},
        )

    def carry_up(self, names: Sequence[str]) -> None:
        """Copy closed files to the store; nothing to do where the store is local."""
        if self.remote is not None:
            for name in names:
                storage.upload(self.dir / name, self.remote / name)

    def units(self) -> dict[str, dict[str, Any]]:
        """Receipts of the units finished by this attempt or an elder, by name, sorted. A receipt whose files are gone
        does not count."""
        found: dict[str, dict[str, Any]] = {}
        for folder in (*self.elders, self.place):
            found.update(read_units(folder))
        return dict(sorted(found.items()))

    def digests(self) -> dict[Path, str]:
        """sha256 by place in the store of the files whose units said it."""
        return {
            folder / name: told
            for folder in (*self.elders, self.place)
            for receipt in read_units(folder).values()
            for name, told in receipt.get("digests", {}).items()
        }

    def path(self, name: str) -> Path:
        """Where a logical name (a file, or a folder of them) lies on this machine: in this attempt, else in the youngest
        elder that holds it; for a name nobody wrote yet, the place in this attempt to write it to. Files of a remote elder
        are copied down: ask for no more than is read. Raises FileNotFoundError when one of them is gone."""
        if (self.dir / name).exists():
            return self.dir / name
        for elder in reversed(self.elders):
            if not storage.is_remote(elder):
                if (elder / name).exists():
                    return elder / name
            elif (copy := self._copy(elder, name)) is not None:
                return copy
        return self.dir / name

    def _copy(self, elder: Path, name: str) -> Path | None:
        """Bring what finished units of a remote elder wrote under ``name`` to ``elders/`` of this attempt."""
        wanted = {
            file
            for receipt in read_units(elder).values()
            for file in _named(receipt)
            if file == name or file.startswith(name.rstrip("/") + "/")
        }
        for file in sorted(wanted):
            storage.fetch(elder / file, self.dir / "elders" / elder.name / file)
        return self.dir / "elders" / elder.name / name if wanted else None

    def results(self) -> dict[str, tuple[Path, Path]]:
        """Logical name -> (place in the store, file to read it from) of the result: the files of adopted units, then
        everything written in this attempt. A remote elder's file is read from the store."""
        found: dict[str, tuple[Path, Path]] = {}
        for folder in self.elders:
            for receipt in read_units(folder).values():
                found.update({name: (folder / name, folder / name) for name in receipt.get("files", ())})
        for path in self.dir.rglob("*"):
            relative = path.relative_to(self.dir)
            if relative.parts[0] not in RESERVED and path.is_file():
                found[relative.as_posix()] = (self.place / relative.as_posix(), path)
        return dict(sorted(found.items()))


def _named(receipt: Mapping[str, Any]) -> list[str]:
    return [*receipt.get("files", ()), *receipt.get("state", ())]


def read_units(folder: Path) -> dict[str, dict[str, Any]]:
    """Unit name -> receipt of one attempt's folder, leaving out torn receipts and those whose files are gone. A remote
    store is not asked for each file: nothing but ``gc`` removes one, and it takes the receipt first."""
    found = {}
    remote = storage.is_remote(folder)
    for name in storage.names(folder / "units"):
        if not name.endswith(".json"):
            continue
        loaded = read_json(folder / "units" / name)
        if loaded and (remote or all((folder / file).is_file() for file in _named(loaded["receipt"]))):
            found[loaded["unit"]] = loaded["receipt"]
    return found
