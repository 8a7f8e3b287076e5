"""One try at a step, and the ledger that makes tries cheap to repeat.

A unit of work (a shard, a checkpoint) writes its files first and its small receipt last. A new attempt of the same key
reads the receipts of the earlier ones and skips what they finished, so a killed stage loses only the units in flight.

A stage writes into a local folder, always. In a local store that is where the attempt lies; to a remote one each process
that built a unit, on whatever node, carries the unit's files up itself (``Attempt.build``) and hands back what the receipt
has to say of them. No node needs the files of another.
"""

from __future__ import annotations

import functools
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pipelines.core import storage
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.events import EventWriter
from pipelines.core.executor import Executor, InProcess, Resources
from pipelines.core.storage import Place
from pipelines.workflow.files import read_json, write_json

Job = TypeVar("Job")
Receipt = Mapping[str, Any]

UNIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,120}")
NOTES = ("manifest.json", "attempt.json", "spec.json", "worker.json", "outcome.json")
RESERVED = ("units", "logs", "scratch", "elders", *NOTES)
"""Names inside an attempt that belong to the workflow; everything else is the stage's result."""


@dataclass(frozen=True)
class Unit:
    """A unit that is whole: the stage's own receipt, and ``{size, sha256}`` of each file of the result by logical name.
    ``host`` and ``folder``: where it was made."""

    receipt: dict[str, Any]
    files: dict[str, dict[str, Any]]
    host: str
    folder: str


@dataclass(frozen=True)
class Attempt:
    """What a stage gets to write into: all files under the local folder ``dir`` but ``RESERVED`` become the result.

    ``place`` is where the store keeps the attempt (``dir`` itself in a local store). ``limit`` is the ``--limit N`` of the
    run (only the first N inputs) or None. ``elders`` are earlier attempts of the same key and generation, oldest first.
    ``executor`` runs the pieces of the work.
    """

    dir: Path
    place: Place
    limit: int | None = None
    elders: tuple[Place, ...] = ()
    executor: Executor = field(default_factory=InProcess)

    @property
    def root(self) -> Place:
        """The artifact's folder in the store."""
        return self.place.parent.parent

    @property
    def carries(self) -> bool:
        """The store is elsewhere: what is written here has to be carried up."""
        return self.place != self.dir

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

    def build(
        self, build: Callable[[Job, Path], Receipt], jobs: Mapping[str, Job], resources: Resources, *, at_once: int
    ) -> Iterator[tuple[str, Receipt]]:
        """Build units, given by name, wherever the executor puts them; (name, receipt) of each once it is committed. There
        ``build(job, folder)`` writes into a local folder and returns the receipt (:meth:`commit_unit`)."""
        there = functools.partial(_build_there, build, self.place)
        for (name, _), unit in self.executor.map(there, jobs.items(), resources, at_once=at_once):
            self._record(name, unit)
            yield name, unit.receipt

    def commit_unit(self, unit: str, receipt: Receipt) -> None:
        """Say that a unit written into ``dir`` is whole: call it after its files are closed. ``receipt["files"]`` lists
        the logical names of its part of the result, ``receipt["state"]`` those of files a later attempt goes on from (a
        checkpoint) that are no result, ``receipt["digests"]`` the sha256 of files that were hashed on their way to the
        disk; the rest of the receipt is the stage's own small JSON.

        Raises ConfigError for a bad unit name, DataError when a listed file is not there.
        """
        self._record(unit, _carry(self.dir, self.place, receipt))

    def _record(self, name: str, unit: Unit) -> None:
        if not UNIT_NAME.fullmatch(name):
            raise ConfigError(f"'{name}' is no unit name", why=f"names match {UNIT_NAME.pattern}")
        write_json(self.place / "units" / f"{name}.json", {"unit": name, "time": round(time.time(), 3), **vars(unit)})

    def units(self) -> dict[str, dict[str, Any]]:
        """Receipts of the units finished by this attempt or an elder, by name, sorted. A receipt whose files are gone
        does not count."""
        found = {name: unit.receipt for folder in self._folders for name, unit in read_units(folder).items()}
        return dict(sorted(found.items()))

    @property
    def _folders(self) -> tuple[Place, ...]:
        return (*self.elders, self.place)

    def path(self, name: str) -> Path:
        """Where a logical name (a file, or a folder of them) lies on this machine: in this attempt, else in the youngest
        elder that holds it; for a name nobody wrote yet, the place in this attempt to write it to. Files of a remote
        store are copied down: ask for no more than is read. Raises FileNotFoundError when one of them is gone."""
        if (self.dir / name).exists():
            return self.dir / name
        for folder in reversed(self._folders):
            found = folder / name if isinstance(folder, Path) else self._copy(folder, name)
            if found.exists():
                return found
        return self.dir / name

    def _copy(self, folder: storage.Remote, name: str) -> Path:
        """Bring what finished units of a remote attempt wrote under ``name`` to ``elders/`` of this one."""
        copies = self.dir / "elders" / folder.name
        wanted = {file for unit in read_units(folder).values() for file in _named(unit.receipt)}
        for file in sorted(wanted):
            if file == name or file.startswith(name.rstrip("/") + "/"):
                storage.download(folder / file, copies / file)
        return copies / name

    def results(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Logical name -> (attempt that holds the file, its ``{size, sha256}``), sorted: what finished units say they wrote,
        then everything else that was written in this attempt, which is hashed and carried up now."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        told: set[str] = set()
        for folder in self._folders:
            units = read_units(folder).values()
            told = {name for unit in units for name in unit.files}
            found |= {name: (folder.name, about) for unit in units for name, about in unit.files.items()}
        loose = [name for name in storage.files(self.dir) if name.split("/")[0] not in RESERVED and name not in told]
        carried = _carry(self.dir, self.place, {"files": loose}).files
        return dict(sorted((found | {name: (self.place.name, about) for name, about in carried.items()}).items()))


def work_folder(attempt: Place) -> Path:
    """Where this machine works on an attempt: its own folder in a local store, else one under ``COOKHOUSE_HOME``."""
    if isinstance(attempt, Path):
        return attempt
    artifact = attempt.parent.parent
    folder = storage.home_of(artifact.parent.parent) / "work" / artifact.parent.name / artifact.name / attempt.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _build_there(build: Callable[[Job, Path], Receipt], attempt: Place, named: tuple[str, Job]) -> Unit:
    """In whatever process and on whatever node the executor chose: build a unit and carry its files to the attempt. Where
    that is elsewhere, the folder goes when the unit is up."""
    if isinstance(attempt, Path):
        return _carry(attempt, attempt, build(named[1], attempt))
    scratch = work_folder(attempt) / "scratch"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        return _carry(Path(folder), attempt, build(named[1], Path(folder)))


def _carry(folder: Path, attempt: Place, receipt: Receipt) -> Unit:
    """The files a receipt lists, from a local folder to their places in the attempt, with their sizes and sha256. Raises
    DataError when one is not there."""
    told, files = receipt.get("digests", {}), {}
    for path in (folder / name for name in _named(receipt)):
        if not path.is_file():
            raise DataError("a unit lists a file that is not there", where=str(path))
    for name in receipt.get("files", ()):
        path = folder / name
        files[name] = {"size": path.stat().st_size, "sha256": told.get(name) or storage.sha256_of(path)}
    for name in _named(receipt):
        storage.upload(folder / name, attempt / name)
    return Unit(dict(receipt), files, socket.gethostname(), str(folder))


def _named(receipt: Receipt) -> Sequence[str]:
    return [*receipt.get("files", ()), *receipt.get("state", ())]


def read_units(folder: Place) -> dict[str, Unit]:
    """The finished units of one attempt's folder by name, leaving out torn receipts and those whose files are gone. A
    remote store is not asked for each file: nothing but ``gc`` removes one, and it takes the receipt first."""
    found = {}
    for name in storage.names(folder / "units"):
        loaded = read_json(folder / "units" / name) if name.endswith(".json") else None
        if not loaded or "files" not in loaded:
            continue
        unit = Unit(loaded["receipt"], loaded["files"], loaded["host"], loaded["folder"])
        if not isinstance(folder, Path) or all((folder / file).is_file() for file in _named(unit.receipt)):
            found[loaded["unit"]] = unit
    return found
