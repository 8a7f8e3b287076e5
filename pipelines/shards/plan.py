"""Which sources go into which shard: planned from the sorted list of inputs, never from workers, blocks or speed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pipelines.core.errors import DataError
from pipelines.core.storage import local_file
from pipelines.shards.manifest import Row

SHORT = 16


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One input file. ``address`` (a path or URL) is where it lies now, ``name`` its relative name (kept in manifests),
    ``size`` in bytes, ``sha256`` "" when it could not be read; ``sidecar`` is the address of a file that describes it, or
    ""; ``family`` comes from the sample corpus, or is "". ``copy_of`` names an earlier file with the same bytes, ``order``
    is the place in the plan."""

    address: str
    name: str
    size: int
    sha256: str
    split: str
    family: str = ""
    sidecar: str = ""
    copy_of: str = ""
    order: int = 0

    @property
    def path(self) -> str:
        """The file on the machine that asks, "" for one without bytes; one of a remote store is copied down at the first
        use and kept."""
        return str(local_file(self.address)) if self.address else ""

    def key(self, letter: str) -> str:
        """Start of the keys of this file's samples: ``letter`` and 16 hex digits, unique within a plan."""
        if not self.sha256:
            return f"{letter}n{hashlib.sha256(self.name.encode()).hexdigest()[:SHORT]}"
        return f"{letter}{self.sha256[:SHORT]}" + (f"-x{self.order:05d}" if self.copy_of else "")

    def told(self, message: str) -> str:
        """A message about this file without the place where it lies on this machine: manifests are compared."""
        return message.replace(self.path, self.name) if self.address else message

    def row(self, key: str, stage: str, kind: str, item: int = 0, split: str = "") -> Row:
        """The manifest's row of one planned sample of this file, before it is known what becomes of it: written as it
        is (with ``replace`` for what the sample tells), ``filtered`` or ``quarantined``. ``split`` is the file's own when
        left out."""
        return Row(key, "ok", stage, self.name, self.sha256, split or self.split, kind, item)


@dataclass(frozen=True)
class Unit:
    """What one task does and commits: the sources of one shard."""

    name: str
    items: tuple[SourceItem, ...]


def plan_units(items: Iterable[SourceItem], per_unit: int, prefix: str) -> list[Unit]:
    """Units of ``per_unit`` sources, by name; files with the bytes of an earlier one are marked as its copy.

    Pure: five files at 2 a unit give ``{prefix}-000000`` (2), ``-000001`` (2), ``-000002`` (1). Raises DataError if two
    items have one name."""
    if per_unit < 1:
        raise DataError(f"{per_unit} sources a unit is below 1")
    ordered = sorted(items, key=lambda item: item.name)
    first: dict[str, str] = {}
    names: set[str] = set()
    marked: list[SourceItem] = []
    for order, item in enumerate(ordered):
        if item.name in names:
            raise DataError(f"two sources are called {item.name!r}")
        names.add(item.name)
        copy_of = first.get(item.sha256, "") if item.sha256 else ""
        first.setdefault(item.sha256, item.name)
        marked.append(replace(item, order=order, copy_of=copy_of))
    return [
        Unit(f"{prefix}-{number:06d}", tuple(marked[start : start + per_unit]))
        for number, start in enumerate(range(0, len(marked), per_unit))
    ]
