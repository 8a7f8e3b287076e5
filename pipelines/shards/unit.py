"""A unit of work = one shard and its manifest, with the books closed before anything is reported.

``planned == ok + filtered + quarantined`` is checked here and nowhere else, for every stage.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError
from pipelines.shards.manifest import STATUSES, Row, write_manifest
from pipelines.shards.writer import KEY, Sample, ShardWriter

Item = tuple[Row, Mapping[str, bytes] | None]


def write_unit(
    directory: str | os.PathLike[str], name: str, items: Iterable[Item], planned: int | None = None
) -> dict[str, Any]:
    """Write ``directory/shards/{name}.tar`` and ``directory/manifest/{name}.parquet``, streaming: one sample in memory.

    Args:
        directory: the attempt's directory.
        name: name of the unit, like ``train-000003`` (rows may hold several splits).
        items: (row, parts); parts are given exactly for rows with status ``ok``.
        planned: how many rows the plan promised; a different count is an error, not a warning.
    Returns:
        receipt ``{"files": [...], "digests": {...}, "counts": {"planned", "ok", "filtered", "quarantined"}, "sha256",
        "rows_sha256", "bytes"}``. ``sha256`` is that of the shard, "" if no row was ok (then no tar is written);
        ``digests`` names it for the commit.
    Raises:
        DataError: the counts do not close, a key occurs twice, parts and status disagree.
    """
    if not KEY.match(name):
        raise DataError(f"unit name {name!r} is not allowed", why="names match ^[a-z0-9_-]{1,80}$")
    directory = Path(directory)
    logical_shard, logical_manifest = f"shards/{name}.tar", f"manifest/{name}.parquet"
    rows: list[Row] = []
    writer: ShardWriter | None = None
    with ExitStack() as stack:
        for row, parts in items:
            if (parts is not None) != (row.status == "ok"):
                raise DataError(
                    f"row {row.key!r} is {row.status} but {'has' if parts is not None else 'lacks'} parts", where=name
                )
            if parts is not None:
                if writer is None:
                    writer = stack.enter_context(ShardWriter(directory / logical_shard))
                writer.add(Sample(row.key, parts))
            rows.append(row)
        counts = Counter(row.status for row in rows)
        if planned is not None and planned != len(rows):
            raise DataError(
                f"unit {name}: {planned} samples planned, {len(rows)} accounted for",
                why=", ".join(f"{counts[status]} {status}" for status in STATUSES),
            )
        keys = Counter(row.key for row in rows)
        twice = [key for key, count in keys.items() if count > 1]
        if twice:
            raise DataError(f"unit {name}: key {twice[0]!r} is planned {keys[twice[0]]} times")
    facts: dict[str, str | int] = {}
    files = [logical_manifest]
    if writer is not None:
        assert writer.receipt is not None
        entries = iter(writer.receipt.entries)
        rows = [_place(row, logical_shard, entries) for row in rows]
        facts = {"sha256": writer.receipt.sha256, "size": writer.receipt.size, "samples": len(writer.receipt.entries)}
        files.insert(0, logical_shard)
    rows_sha256 = write_manifest(directory / logical_manifest, rows, facts)
    return {
        "files": files,
        "digests": {logical_shard: facts["sha256"]} if facts else {},
        "counts": {"planned": len(rows), **{status: counts[status] for status in STATUSES}},
        "sha256": facts.get("sha256", ""),
        "rows_sha256": rows_sha256,
        "bytes": facts.get("size", 0),
    }


def _place(row: Row, shard: str, entries: Any) -> Row:
    if row.status != "ok":
        return row
    entry = next(entries)
    return replace(row, shard=shard, offset=entry.offset, length=entry.length, sha256=entry.sha256)


def merge_counts(receipts: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Sum of the counts of several receipts, with the books checked once more."""
    total: Counter[str] = Counter()
    for receipt in receipts:
        total.update(receipt["counts"])
    counts = {name: total[name] for name in ("planned", *STATUSES)}
    if counts["planned"] != sum(counts[status] for status in STATUSES):
        raise DataError(f"the books do not close: {counts}")
    return counts


def check_share(counts: Mapping[str, int], most: float) -> None:
    """Raise DataError if the quarantined share of the planned samples is above ``most`` (0-1). Called after all units
    are committed, so that a rerun with a higher limit has nothing to do again."""
    planned, bad = counts["planned"], counts["quarantined"]
    if planned and bad / planned > most:
        raise DataError(
            f"{bad} of {planned} samples were quarantined, more than the limit of {most:.0%}",
            why="their rows in manifest/*.parquet say why (cookhouse shards inspect)",
            do="repair the inputs, or raise max_quarantine_share",
        )
