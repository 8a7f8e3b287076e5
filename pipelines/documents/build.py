"""One unit: pages in, a shard and its manifest out, every planned view accounted for.

Runs in a Ray task or in process. The sandboxes are kept by the worker process from unit to unit; the OCR child starts
with the first scan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.errors import CookhouseError
from pipelines.core.sandbox import SandboxError, kept_sandbox
from pipelines.corruption.operators import LEVELS
from pipelines.corruption.view import ONLINE, TextRegion
from pipelines.documents.config import DocumentShards
from pipelines.documents.engine import PageContent, PageFailure, Render
from pipelines.documents.extract import CHILD
from pipelines.documents.filters import judge_text
from pipelines.documents.ink import has_ink
from pipelines.documents.ocr_reader import TARGET as OCR_TARGET
from pipelines.documents.ocr_reader import OcrLines, OcrSetup, Task
from pipelines.documents.plan import PageUnit, Span, Verdict
from pipelines.documents.reader import read_file
from pipelines.documents.regions import find_regions, visible_words
from pipelines.documents.routing import route_page
from pipelines.documents.sample import CleanPage, make_view
from pipelines.documents.scan import OcrReader, PageRef, read_scan
from pipelines.shards.manifest import CATEGORIES, Row
from pipelines.shards.unit import Item, write_unit

STAGE = "documents"
SUFFIXES = (".pdf",)
KEY_LETTER = "d"
OCR_MEMORY = 8 << 30
OCR_RECYCLE = 300  # pages; PaddleOCR grows on long runs


@dataclass(frozen=True)
class PageJob:
    """A unit and all that decides its bytes; small enough to send to a worker. ``ocr`` reads scans elsewhere (a pool of
    actors), None reads them in a child of the worker."""

    unit: PageUnit
    settings: DocumentShards
    ocr: OcrReader | None = None


def build_page_unit(job: PageJob, folder: Path) -> dict[str, Any]:
    """Write one unit into ``folder``. Returns the receipt of ``write_unit`` with ``regions`` (ok regions per level),
    ``routes`` (pages per route) and ``categories`` (rows per category that are not ok)."""
    tally: Counter[str] = Counter()
    planned = sum(span.pages * job.settings.views_per_page if span.verdict is None else 1 for span in job.unit.spans)
    receipt = write_unit(folder, job.unit.name, _items(job, tally), planned)
    for group in ("regions", "routes", "categories"):
        receipt[group] = {
            name.partition("/")[2]: count for name, count in sorted(tally.items()) if name.startswith(f"{group}/")
        }
    return receipt


def _items(job: PageJob, tally: Counter[str]) -> Iterator[Item]:
    read = job.ocr or read_here(job.settings)
    for span in job.unit.spans:
        for row, parts in _span_items(span, job.settings, read, tally):
            if row.status != "ok":
                tally[f"categories/{row.category}"] += 1
            yield row, parts


def _span_items(span: Span, settings: DocumentShards, read: OcrReader, tally: Counter[str]) -> Iterator[Item]:
    if span.verdict is not None:
        yield _unwritten(span, None, 0, span.verdict)
        return
    box = kept_sandbox(CHILD, settings.page_deadline_s, settings.memory_bytes)
    for answer in read_file(box, settings.engine, span.source.path, span.first, span.last, _render(span, settings)):
        if isinstance(answer, PageFailure):
            verdict = Verdict("quarantined", answer.category, answer.message)
            yield from _views_without(span, answer.index, verdict, settings)
            continue
        try:
            views = _page_items(span, answer, settings, read, tally)
        except CookhouseError:
            raise
        except Exception as error:  # a page nobody thought of costs that page, not the unit
            told = span.source.told(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
            views = list(_views_without(span, answer.index, Verdict("quarantined", "parse", told), settings))
        yield from views


def _page_items(
    span: Span, content: PageContent, settings: DocumentShards, read: OcrReader, tally: Counter[str]
) -> list[Item]:
    page, facts = _clean_page(span, content, settings, read, tally)
    if isinstance(page, Verdict):
        return list(_views_without(span, content.index, page, settings, facts))
    return [_written(span, page, view, settings, tally) for view in range(settings.views_per_page)]


def _views_without(
    span: Span, page: int, verdict: Verdict, settings: DocumentShards, facts: Mapping[str, Any] | None = None
) -> Iterator[Item]:
    """A row for every view that the page does not give."""
    for view in range(settings.views_per_page):
        yield _unwritten(span, page, view, verdict, facts)


def category(name: str) -> str:
    return name if name in CATEGORIES else "parse"


def _row(span: Span, page: int | None, view: int, tags: tuple[str, ...], detail: Mapping[str, Any]) -> Row:
    """``page`` None stands for the whole file."""
    start = span.source.key(KEY_LETTER)
    key = f"{start}-file" if page is None else f"{start}-p{page:05d}-v{view:02d}"
    told = json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return replace(span.source.row(key, STAGE, "document", -1 if page is None else page), tags=tags, detail=told)


def _unwritten(
    span: Span, page: int | None, view: int, verdict: Verdict, facts: Mapping[str, Any] | None = None
) -> Item:
    row = _row(span, page, view, (span.source.family or "user",), facts or {})
    leave = row.filtered if verdict.status == "filtered" else row.quarantined
    return leave(verdict.category, verdict.reason)


def _clean_page(
    span: Span, content: PageContent, settings: DocumentShards, read: OcrReader, tally: Counter[str]
) -> tuple[CleanPage | Verdict, dict[str, Any]]:
    """Route, words, regions of one page, or the verdict that leaves it out; and the facts both rest on."""
    route = route_page(content.texts, content.invisible, content.image_area, has_ink(content.image))
    tally[f"routes/{route.route}"] += 1
    facts: dict[str, Any] = {"route": route.record(), "points": [round(side, 2) for side in content.points]}
    facts["scale"] = round(content.scale, 6)
    if route.route == "blank":
        return Verdict("filtered", "empty_text", "the page is blank"), facts
    by_line = max(content.image.shape[:2]) < settings.card_side
    regions: Sequence[TextRegion]
    if route.route == "scan":
        if not settings.ocr:
            return Verdict("filtered", "policy", "the page is a scan and OCR is off"), facts
        page = PageRef(settings.engine, span.source.address, content.index, _render(span, settings))
        try:
            scan = read_scan(content, page, span.source.sha256, settings, read, by_line)
        except SandboxError as error:
            return Verdict("quarantined", "ocr", span.source.told(f"{error.category}: {error.message}")), facts
        regions, size, facts["ocr"] = scan.regions, scan.tokens, scan.facts
        found = scan.facts.get("kept", 0)
    else:
        words = visible_words(content.image, content.boxes, content.texts)
        wanted = settings.target != "parser"
        regions = find_regions(content.image, words, settings.region_tokens, by_line, settings.layout, shrink=wanted)
        size, found = sum(region.tokens for region in regions), len(content.texts)
    if not regions:
        return Verdict(
            "filtered", "empty_text", f"no readable text ({route.route}, {found} words or lines found)"
        ), facts
    if settings.filters.any_page:
        judged = judge_text("\n".join(region.text for region in regions), settings.filters)
        facts["text"] = judged.facts
        if judged.verdict is not None:
            return judged.verdict, facts
    page_read = CleanPage(
        image=content.image,
        regions=tuple(regions),
        tokens=size,
        by_line=by_line,
        source=span.source.name,
        source_digest=span.source.sha256,
        page=content.index,
        family=span.source.family or "user",
        split=span.source.split,
        facts=facts,
    )
    return page_read, facts


def _render(span: Span, settings: DocumentShards) -> Render:
    return Render(
        dpi=settings.dpi,
        max_pixels=settings.max_pixels,
        natural=span.source.family == "card",
        grey=settings.jpeg_colour == "compact",
    )


def read_here(settings: DocumentShards) -> OcrReader:
    """OCR in a child of this process."""

    def read(page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads: np.ndarray | None) -> OcrLines:
        return kept_sandbox(OCR_TARGET, settings.ocr_deadline_s, OCR_MEMORY, OCR_RECYCLE).call(
            setup, image, task, quads
        )

    return read


def _written(span: Span, page: CleanPage, view: int, settings: DocumentShards, tally: Counter[str]) -> Item:
    made = make_view(page, view, settings)
    for region in made.regions:
        tally[f"regions/{region['level']}"] += 1
    if settings.form == "online":
        tally[f"regions/{ONLINE}"] += len(page.regions)
    height, width = page.image.shape[:2]
    route = page.facts["route"]
    detail = {
        "regions": [[region["level"], *region["bbox"]] for region in made.regions],
        "route": route,
        "seed": settings.seed,
    }
    tags = (page.family, route["route"], *((ONLINE,) if settings.form == "online" else ()))
    row = replace(
        _row(span, page.page, view, tags, detail), views=1, width=width, height=height, text_bytes=made.text_bytes
    )
    return row, made.parts


def merge_tallies(receipts: Sequence[dict[str, Any]], group: str) -> dict[str, int]:
    """Sum of one group of counts over receipts; ``regions`` always names the three levels."""
    total: Counter[str] = Counter(dict.fromkeys(LEVELS, 0) if group == "regions" else {})
    for receipt in receipts:
        total.update(receipt[group])
    return dict(total)
