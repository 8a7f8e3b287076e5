"""Look at shards: totals, the rows that were not written and why, one sample taken apart. What the command line
prints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError
from pipelines.core.seeds import generator
from pipelines.shards.index import SampleRef, ShardFolder
from pipelines.shards.manifest import SPLITS, STATUSES, Row, facts_of, read_facts, read_manifest, read_table
from pipelines.shards.read import parse_sample, read_range


def rows(folder: ShardFolder) -> Iterator[Row]:
    """Every row of every manifest, in order."""
    for manifest in folder.glob("manifest/*.parquet"):
        yield from read_manifest(manifest)


def changed(before: ShardFolder, after: ShardFolder) -> list[str]:
    """Keys of samples that two makings do not share, sorted: other bytes, another reason to leave one out, or there once
    only. Where a sample lies in its shard does not count: one that grew moves all behind it."""
    old, new = ({row.key: replace(row, offset=None) for row in rows(folder)} for folder in (before, after))
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def stats(folder: ShardFolder) -> dict[str, Any]:
    """Totals: rows by status, written samples by split, kind and tag, what was left out by category; bytes, pictures,
    frames and text bytes of what was written; sources seen."""
    found = list(rows(folder))
    written = [row for row in found if row.status == "ok"]
    left = [row for row in found if row.status != "ok"]
    return {
        "planned": len(found),
        **{status: sum(row.status == status for row in found) for status in STATUSES},
        "sources": len({(row.source, row.source_digest) for row in found}),
        "shards": len({row.shard for row in written}),
        "bytes": sum(int(read_facts(path).get("size", 0)) for path in folder.glob("manifest/*.parquet")),
        "views": sum(row.views for row in written),
        "frames": sum(row.frames for row in written),
        "text_bytes": sum(row.text_bytes for row in written),
        "split": dict(sorted(Counter(row.split for row in written).items())),
        "kind": dict(sorted(Counter(row.kind for row in written).items())),
        "tags": dict(sorted(Counter(tag for row in written for tag in row.tags).items())),
        "left_out": dict(sorted(Counter(f"{row.status}: {row.category}" for row in left).items())),
    }


@dataclass(frozen=True)
class ShardSummary:
    """One shard: its name, size in bytes, sha256 and written samples by split."""

    name: str
    size: int
    sha256: str
    splits: dict[str, int]


def shards(folder: ShardFolder) -> Iterator[ShardSummary]:
    """Every shard that a manifest names, in order."""
    for manifest in folder.glob("manifest/*.parquet"):
        table = read_table(manifest, ("status", "shard", "split"))
        written = [row for row in table.to_pylist() if row["status"] == "ok"]
        if written:
            facts, splits = facts_of(table), Counter(row["split"] for row in written)
            yield ShardSummary(
                written[0]["shard"],
                int(facts["size"]),
                str(facts["sha256"]),
                {split: splits[split] for split in SPLITS if splits[split]},
            )


def draw(refs: Sequence[SampleRef], count: int, seed: int) -> list[SampleRef]:
    """``count`` different samples (or all), in the order they have in ``refs``."""
    chosen = generator("inspect", seed).permutation(len(refs))[:count]
    return [refs[n] for n in sorted(chosen.tolist())]


def find(folder: ShardFolder, key: str) -> Row:
    """The row of a key, or of the only key that starts so. Raises DataError when there is none, or several."""
    matches = [row for row in rows(folder) if row.key.startswith(key)]
    exact = [row for row in matches if row.key == key]
    if len(exact or matches) != 1:
        keys = ", ".join(row.key for row in matches[:5]) or "none"
        raise DataError(f"{len(matches)} samples have a key that starts with {key!r}", why=f"among them: {keys}")
    return (exact or matches)[0]


def take(folder: ShardFolder, row: Row) -> dict[str, bytes]:
    """The parts of a written row. Raises DataError for a row that was not written."""
    if row.shard is None or row.offset is None or row.length is None:
        raise DataError(f"sample {row.key!r} was not written: {row.status}, {row.category}: {row.reason}")
    return parse_sample(read_range(folder.address(row.shard), row.offset, row.length), row.key, row.shard)


def describe(folder: ShardFolder, row: Row) -> dict[str, Any]:
    """A row as plain values; of a written one also its JSON and the size in bytes of each part."""
    about: dict[str, Any] = {"key": row.key, "status": row.status, "source": row.source, "item": row.item}
    about |= {"split": row.split, "tags": list(row.tags), "detail": json.loads(row.detail)}
    if row.status != "ok":
        return about | {"category": row.category, "reason": row.reason}
    parts = take(folder, row)
    sizes = {name: len(data) for name, data in parts.items()}
    return about | {"shard": row.shard, "offset": row.offset, "parts": sizes, "json": json.loads(parts["json"])}


def extract(folder: ShardFolder, row: Row, directory: Path) -> list[Path]:
    """Write the parts of a sample as ``{key}.{part}`` files to look at; the paths written."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, data in take(folder, row).items():
        path = directory / f"{row.key}.{name}"
        path.write_bytes(data)
        written.append(path)
    return written
