"""``verify``: prove that shards and manifests of an artifact belong together, byte for byte."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipelines.core.errors import DataError
from pipelines.shards.index import ShardFolder
from pipelines.shards.manifest import Row, facts_of, read_table, rows_of
from pipelines.shards.read import opened, parse_sample

_STEP = 4 << 20


@dataclass(frozen=True)
class Problem:
    """``kind`` is one of unreadable, missing, extra, size, sha256, swapped, sample, count, duplicate."""

    kind: str
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.message}"


@dataclass(frozen=True)
class _Unit:
    """What one manifest says."""

    name: str
    rows: tuple[Row, ...]
    sha256: str
    size: int
    samples: int


def verify(artifact: ShardFolder) -> list[Problem]:
    """Every problem found, none if all is well. Reads every byte once, a few MB at a time.

    Checks: each manifest is readable and names one shard that exists with the size and sha256 noted in it (and says
    whose bytes it found when two shards were exchanged); every ``ok`` row's byte range holds that sample with that
    sha256; as many samples as rows; no key twice in the artifact; no shard that no manifest names."""
    problems: list[Problem] = []
    units: list[_Unit] = []
    keys: Counter[str] = Counter()
    manifests = artifact.glob("manifest/*.parquet")
    if not manifests:
        problems.append(Problem("missing", "manifest/", "no manifests"))
    for manifest in manifests:
        try:
            table = read_table(manifest)
        except DataError as error:
            problems.append(Problem("unreadable", manifest.name, error.what))
            continue
        rows, facts = rows_of(table), facts_of(table)
        keys.update(row.key for row in rows)
        written = tuple(row for row in rows if row.status == "ok")
        units.append(
            _Unit(
                manifest.name,
                written,
                str(facts.get("sha256", "")),
                int(facts.get("size", 0)),
                int(facts.get("samples", 0)),
            )
        )
    owners = {unit.sha256: unit.rows[0].shard or "" for unit in units if unit.rows}
    named: set[str] = set()
    for unit in units:
        problems += _check_unit(artifact, unit, named, owners)
    for name in artifact.names:
        if fnmatchcase(name, "shards/*.tar") and name not in named:
            problems.append(Problem("extra", name, "no manifest names this shard"))
    problems += [
        Problem("duplicate", "manifest/", f"key {key!r} occurs {count} times")
        for key, count in sorted(keys.items())
        if count > 1
    ]
    return problems


def _check_unit(artifact: ShardFolder, unit: _Unit, named: set[str], owners: dict[str, str]) -> Iterator[Problem]:
    shards = sorted({row.shard or "" for row in unit.rows})
    if len(unit.rows) != unit.samples:
        yield Problem("count", unit.name, f"{len(unit.rows)} ok rows, {unit.samples} samples noted")
    if len(shards) > 1:
        yield Problem("count", unit.name, f"rows of one unit name {len(shards)} shards")
    for logical in shards:
        rows = [row for row in unit.rows if row.shard == logical]
        try:
            with opened(artifact.address(logical)) as (size, read):
                named.add(logical)
                yield from _check_shard(size, read, logical, unit, rows, owners)
        except DataError as error:
            yield Problem("missing", logical, f"named by {unit.name}: {error.what}")


def _check_shard(
    size: int, read: Callable[[int, int], bytes], logical: str, unit: _Unit, rows: list[Row], owners: dict[str, str]
) -> Iterator[Problem]:
    if size != unit.size:
        yield Problem("size", logical, f"{size} bytes, manifest says {unit.size}")
    whole = hashlib.sha256()
    for start in range(0, size, _STEP):
        whole.update(read(start, min(_STEP, size - start)))
    found = whole.hexdigest()
    if found == unit.sha256:
        return
    yield Problem("sha256", logical, f"{found[:12]}, manifest says {unit.sha256[:12]}")
    if found in owners:
        yield Problem("swapped", logical, f"it holds the bytes of {owners[found]}")
        return
    for row in rows:
        part = read(row.offset or 0, row.length or 0)
        if hashlib.sha256(part).hexdigest() == row.sha256:
            continue
        try:
            if len(part) < (row.length or 0):
                raise DataError(f"only {len(part)} of its {row.length} bytes are there")
            parse_sample(part, row.key, logical)
            message = "bytes differ from the manifest"
        except DataError as error:
            message = error.what
        yield Problem("sample", logical, f"{row.key}: {message}")
