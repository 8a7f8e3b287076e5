"""Files -> page ranges -> units. Pure: the same files and settings give the same units on any machine.

A unit holds ranges of pages of one split, cut at about equal cost; a card costs 1, a page 8, a scan 60 (OCR). Whole
files that cannot be opened, and copies of earlier files, are ranges with a verdict: they have one row and no pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.shards.plan import SourceItem, plan_units

COSTS = {"card": 1, "scan": 60, "bad": 1}
OTHER_COST = 8


@dataclass(frozen=True)
class Verdict:
    """Why a whole file gives no page: ``status``, ``category``, ``reason`` of its row."""

    status: str
    category: str
    reason: str


@dataclass(frozen=True)
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


def plan_pages(spans: Sequence[Span], unit_cost: int, views: int) -> list[PageUnit]:
    """Units ``{split}-000000``, ... of each split, balanced: the split's total cost (times ``views``) is cut into the
    fewest equal parts of at most ``unit_cost``, a page is never cut.

    >>> item = SourceItem("/a.pdf", "a.pdf", 1, "ab" * 32, "train", family="card")
    >>> [(unit.name, [(s.first, s.last) for s in unit.spans]) for unit in plan_pages([Span(item, 0, 5)], 2, 1)]
    [('train-000000', [(0, 2)]), ('train-000001', [(2, 4)]), ('train-000002', [(4, 5)])]
    """
    units = []
    for split in sorted({span.source.split for span in spans}):
        own = [span for span in spans if span.source.split == split]
        total = views * sum(span.cost for span in own)
        parts = max(1, -(-total // unit_cost))
        groups: list[list[Span]] = [[] for _ in range(parts)]
        done = 0
        for span in own:
            per_page = views * (span.cost // span.pages if span.verdict is None else 1)
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


def units_record(units: Sequence[PageUnit]) -> list[dict[str, Any]]:
    """Plain JSON of a plan (``plan.json`` of the artifact): no paths of this machine."""
    return [
        {
            "unit": unit.name,
            "spans": [
                {
                    "source": span.source.name,
                    "sha256": span.source.sha256,
                    "family": span.source.family,
                    "first": span.first,
                    "last": span.last,
                    "verdict": asdict(span.verdict) if span.verdict else None,
                }
                for span in unit.spans
            ],
        }
        for unit in units
    ]
