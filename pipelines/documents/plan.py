"""Files -> page ranges -> units. Pure: the same files and settings give the same units on any machine.

A unit holds ranges of pages of one split, cut at about equal cost; a card costs 1, a page 8, a scan 60 (OCR), or more
where a unit would else hold too many samples or bytes (``Bounds``). Whole files that cannot be opened, and copies of
earlier files, are ranges with a verdict: they have one row and no pages. The plan is written once, before any unit; a
later attempt reads it back and works on the same units, whatever the machine was doing when the files were opened.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.shards.plan import SourceItem, plan_units

COSTS = {"card": 1, "scan": 60, "bad": 1}
OTHER_COST = 8
CARD_BYTES = 30_000
BYTES_PER_PIXEL = 0.2  # an estimate: 51 real and made pages, 4:4:4 at quality 92, have 0.03-0.48, median 0.19

BATCH = 100_000  # rows turned into columns at a time
_REQUIRED = ("unit", "source", "sha256", "size", "split", "family", "order", "copy_of", "first", "last", "cost")
_NUMBERS = ("size", "order", "first", "last", "cost")
SCHEMA = pa.schema(
    [pa.field(name, pa.int64() if name in _NUMBERS else pa.string(), nullable=False) for name in _REQUIRED]
    + [pa.field(name, pa.string()) for name in ("status", "category", "reason")]
)
"""One row a range of pages, in the order of the units. ``first`` to ``last`` - 1 are pages; a file with a verdict has
none and says why in the last three columns. No place of this machine is named."""


@dataclass(frozen=True)
class Bounds:
    """A unit holds about ``cost``, at most ``samples`` views and an estimated ``size`` in bytes. ``pixels`` is the most a
    page is rendered with.

    >>> Bounds(1200, 10_000, 1 << 29, 1_806_336).weight("page"), Bounds(100_000, 1000, 1 << 29, 1_806_336).weight("page")
    (8, 100)
    """

    cost: int
    samples: int
    size: int
    pixels: int

    def weight(self, family: str) -> int:
        """Cost of one view of a page, raised to its share of a unit's samples and bytes."""
        size = CARD_BYTES if family == "card" else int(self.pixels * BYTES_PER_PIXEL)
        return max(COSTS.get(family, OTHER_COST), -(-self.cost // self.samples), -(-self.cost * size // self.size))


@dataclass(frozen=True)
class Verdict:
    """Why a whole file gives no page: ``status``, ``category``, ``reason`` of its row."""

    status: str
    category: str
    reason: str


@dataclass(frozen=True, slots=True)
class Span:
    """Pages ``first`` to ``last`` - 1 of a source, or none of it because of ``verdict``."""

    source: SourceItem
    first: int
    last: int
    verdict: Verdict | None = None

    @property
    def pages(self) -> int:
        return self.last - self.first

    @property
    def cost(self) -> int:
        """Work of one view of its pages."""
        return COSTS.get(self.source.family, OTHER_COST) * self.pages if self.verdict is None else 1


@dataclass(frozen=True)
class PageUnit:
    """What one task makes into one shard."""

    name: str
    spans: tuple[Span, ...]

    @property
    def cost(self) -> int:
        return sum(span.cost for span in self.spans)


def spans_of(items: Iterable[SourceItem], pages: Mapping[str, int | Verdict], max_pages: int) -> list[Span]:
    """One span a file, by name. ``pages`` gives for each name the number of pages or the verdict of the probe; copies
    of an earlier file and files with more than ``max_pages`` pages get a verdict of their own."""
    listed = list(items)
    spans = []
    for item in plan_units(listed, max(1, len(listed)), "files")[0].items if listed else []:
        found = pages[item.name]
        if item.copy_of:
            found = Verdict("filtered", "duplicate", f"same bytes as {item.copy_of}")
        elif isinstance(found, int) and found > max_pages:
            found = Verdict("quarantined", "policy", f"{found} pages are more than the limit of {max_pages}")
        spans.append(Span(item, 0, 0, found) if isinstance(found, Verdict) else Span(item, 0, found))
    return spans


def plan_pages(spans: Sequence[Span], bounds: Bounds, views: int) -> list[PageUnit]:
    """Units ``{split}-000000``, ... of each split, balanced: the split's total weight (times ``views``) is cut into the
    fewest equal parts of at most ``bounds.cost``, a page is never cut.

    >>> item = SourceItem("/a.pdf", "a.pdf", 1, "ab" * 32, "train", family="card")
    >>> units = plan_pages([Span(item, 0, 5)], Bounds(2, 100, 1 << 30, 1000), 1)
    >>> [(unit.name, [(s.first, s.last) for s in unit.spans]) for unit in units]
    [('train-000000', [(0, 2)]), ('train-000001', [(2, 4)]), ('train-000002', [(4, 5)])]
    """
    units = []
    weights = {family: bounds.weight(family) for family in {span.source.family for span in spans}}
    for split in sorted({span.source.split for span in spans}):
        own = [span for span in spans if span.source.split == split]
        total = views * sum(weights[s.source.family] * s.pages if s.verdict is None else 1 for s in own)
        parts = max(1, -(-total // bounds.cost))
        groups: list[list[Span]] = [[] for _ in range(parts)]
        done = 0
        for span in own:
            per_page = views * (weights[span.source.family] if span.verdict is None else 1)
            first = span.first
            while True:
                part = min(parts - 1, done * parts // max(1, total))
                if span.verdict is not None:
                    groups[part].append(span)
                    done += per_page
                    break
                bound = -(-total * (part + 1) // parts) if part + 1 < parts else total
                last = min(span.last, first + max(1, -(-(bound - done) // per_page)))
                groups[part].append(replace(span, first=first, last=last))
                done += per_page * (last - first)
                first = last
                if first == span.last:
                    break
        units += [PageUnit(f"{split}-{n:06d}", tuple(group)) for n, group in enumerate(filter(None, groups))]
    return units


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
