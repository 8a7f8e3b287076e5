"""``verify``: prove that shards and manifests of an artifact belong together, byte for byte."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import DataError
from pipelines.shards.index import ShardFolder
from pipelines.shards.manifest import Row, read_facts, read_manifest
from pipelines.shards.read import parse_sample


@dataclass(frozen=True)
class Problem:
    """``kind`` is one of unreadable, missing, extra, size, sha256, sample, count, duplicate."""

    kind: str
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.message}"


def verify(artifact: ShardFolder) -> list[Problem]:
    """Every problem found, none if all is well. Reads every byte once.

    Checks: each manifest is readable and names one shard that exists with the size and sha256 noted in it; every ``ok``
    row's byte range holds that sample with that sha256; as many samples as rows; no key twice in the artifact; no
    shard that no manifest names."""
    problems: list[Problem] = []
    keys: Counter[str] = Counter()
    named: set[Path] = set()
    manifests = artifact.glob("manifest/*.parquet")
    if not manifests:
        problems.append(Problem("missing", "manifest/", "no manifests"))
    for manifest in manifests:
        try:
            rows, facts = read_manifest(manifest), read_facts(manifest)
        except DataError as error:
            problems.append(Problem("unreadable", manifest.name, error.what))
            continue
        keys.update(row.key for row in rows)
        written = [row for row in rows if row.status == "ok"]
        shards = sorted({row.shard or "" for row in written})
        if len(written) != facts.get("samples", 0):
            problems.append(
                Problem("count", manifest.name, f"{len(written)} ok rows, {facts.get('samples', 0)} samples noted")
            )
        if len(shards) > 1:
            problems.append(Problem("count", manifest.name, f"rows of one unit name {len(shards)} shards"))
        for logical in shards:
            try:
                path = artifact.path(logical)
                data = path.read_bytes()
            except (OSError, KeyError, DataError) as error:
                problems.append(Problem("missing", logical, f"named by {manifest.name}: {error}"))
                continue
            named.add(path.absolute())
            problems += _check_shard(logical, data, [row for row in written if row.shard == logical], facts)
    for path in artifact.glob("shards/*.tar"):
        if path.absolute() not in named:
            problems.append(Problem("extra", path.name, "no manifest names this shard"))
    problems += [
        Problem("duplicate", "manifest/", f"key {key!r} occurs {count} times")
        for key, count in sorted(keys.items())
        if count > 1
    ]
    return problems


def _check_shard(logical: str, data: bytes, rows: list[Row], facts: dict[str, str | int]) -> list[Problem]:
    problems = []
    if len(data) != facts.get("size"):
        problems.append(Problem("size", logical, f"{len(data)} bytes, manifest says {facts.get('size')}"))
    found = hashlib.sha256(data).hexdigest()
    if found == facts.get("sha256"):
        return problems
    problems.append(Problem("sha256", logical, f"{found[:12]}, manifest says {str(facts.get('sha256'))[:12]}"))
    for row in rows:
        start, length = row.offset or 0, row.length or 0
        part = data[start : start + length]
        if hashlib.sha256(part).hexdigest() == row.sha256:
            continue
        try:
            parse_sample(part, row.key, logical)
            message = "bytes differ from the manifest"
        except DataError as error:
            message = error.what
        problems.append(Problem("sample", logical, f"{row.key}: {message}"))
    return problems
