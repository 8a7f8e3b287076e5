"""``plan.parquet``: one row a range of pages, in the order of the units. Written once, before any unit; a later attempt
reads it back and works on the same units, whatever the machine was doing when the files were opened."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.documents.plan import PageUnit, Span, Verdict
from pipelines.shards.plan import SourceItem

BATCH = 100_000  # rows turned into columns at a time

SCHEMA = pa.schema(
    [
        pa.field("unit", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("order", pa.int64(), nullable=False),
        pa.field("copy_of", pa.string(), nullable=False),
        pa.field("first", pa.int64(), nullable=False),
        pa.field("last", pa.int64(), nullable=False),
        pa.field("cost", pa.int64(), nullable=False),
        pa.field("status", pa.string()),
        pa.field("category", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""``first`` to ``last`` - 1 are pages; a file with a verdict has none and says why in the last three columns. No place
of this machine is named."""


def _rows(units: Iterable[PageUnit]) -> Iterable[tuple]:
    for unit in units:
        for span in unit.spans:
            source, verdict = span.source, span.verdict
            yield (
                *(unit.name, source.name, source.sha256, source.size, source.split, source.family, source.order),
                *(source.copy_of, span.first, span.last, span.cost),
                *((verdict.status, verdict.category, verdict.reason) if verdict else (None, None, None)),
            )


def write_plan(path: Path, units: Sequence[PageUnit]) -> None:
    """Write all units; the same plan gives the same bytes."""
    rows = iter(_rows(units))
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while batch := list(itertools.islice(rows, BATCH)):
            writer.write_table(pa.table(dict(zip(SCHEMA.names, zip(*batch), strict=True)), schema=SCHEMA))


def read_plan(path: Path, items: Iterable[SourceItem]) -> list[PageUnit]:
    """The units again; ``items`` say where the files lie now."""
    places = {item.name: item for item in items}
    table = pq.read_table(path, schema=SCHEMA)
    spans: dict[str, list[Span]] = {}
    for row in table.to_pylist():
        item = replace(places[row["source"]], split=row["split"], order=row["order"], copy_of=row["copy_of"])
        verdict = Verdict(row["status"], row["category"], row["reason"]) if row["status"] else None
        spans.setdefault(row["unit"], []).append(Span(item, row["first"], row["last"], verdict))
    return [PageUnit(name, tuple(own)) for name, own in spans.items()]
