"""One unit: pages in, a shard and its manifest out, every planned view accounted for.

Runs in a Ray task or in process. The sandboxes are kept by the worker process from unit to unit; the OCR child starts
with the first scan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.errors import CookhouseError
from pipelines.core.sandbox import SandboxError, kept_sandbox
from pipelines.corruption.operators import LEVELS
from pipelines.corruption.view import ONLINE, TextRegion
from pipelines.documents.config import DocumentShards
from pipelines.documents.engine import PageContent, PageFailure, Render
from pipelines.documents.extract import CHILD, read_file
from pipelines.documents.filters import judge_text
from pipelines.documents.ink import has_ink
from pipelines.documents.ocr_reader import TARGET as OCR_TARGET
from pipelines.documents.ocr_reader import OcrLines, OcrSetup, Task
from pipelines.documents.plan import PageUnit, Span, Verdict
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
Tally = dict[str, Counter[str]]
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
    tally: Tally = {"regions": Counter(), "routes": Counter(), "categories": Counter()}
    planned = sum(span.pages * job.settings.views_per_page if span.verdict is None else 1 for span in job.unit.spans)
    receipt = write_unit(folder, job.unit.name, _items(job, tally), planned)
    receipt.update((group, dict(sorted(counts.items()))) for group, counts in tally.items())
    return receipt


def _items(job: PageJob, tally: Tally) -> Iterator[Item]:
    read = job.ocr or read_here(job.settings)
    for span in job.unit.spans:
        for row, parts in _SpanJob(span, job.settings, read, tally).items():
            if row.status != "ok":
                tally["categories"][str(row.category)] += 1
            yield row, parts


@dataclass(frozen=True)
class _SpanJob:
    """The pages of one file in one unit."""

    span: Span
    settings: DocumentShards
    read: OcrReader
    tally: Tally

    def items(self) -> Iterator[Item]:
        span, settings = self.span, self.settings
        if span.verdict is not None:
            yield self._unwritten(None, 0, span.verdict, {})
            return
        box = kept_sandbox(CHILD, settings.page_deadline_s, settings.memory_bytes)
        for answer in read_file(box, settings.engine, span.source.path, span.first, span.last, self._render):
            if isinstance(answer, PageFailure):
                yield from self._views_without(answer.index, Verdict("quarantined", answer.category, answer.message))
                continue
            try:
                views = self._page_items(answer)
            except CookhouseError:
                raise
            except Exception as error:  # a page nobody thought of costs that page, not the unit
                told = span.source.told(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
                views = self._views_without(answer.index, Verdict("quarantined", "parse", told))
            yield from views

    def _page_items(self, content: PageContent) -> list[Item]:
        facts: dict[str, Any] = {}
        page = self._clean_page(content, facts)
        if isinstance(page, Verdict):
            return self._views_without(content.index, page, facts)
        return [self._written(page, view) for view in range(self.settings.views_per_page)]

    def _views_without(self, page: int, verdict: Verdict, facts: Mapping[str, Any] | None = None) -> list[Item]:
        """A row for every view that the page does not give."""
        return [self._unwritten(page, view, verdict, facts or {}) for view in range(self.settings.views_per_page)]

    def _row(self, page: int | None, view: int, tags: tuple[str, ...], detail: Mapping[str, Any]) -> Row:
        """``page`` None stands for the whole file."""
        source = self.span.source
        start = source.key(KEY_LETTER)
        key = f"{start}-file" if page is None else f"{start}-p{page:05d}-v{view:02d}"
        told = json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return replace(source.row(key, STAGE, "document", -1 if page is None else page), tags=tags, detail=told)

    def _unwritten(self, page: int | None, view: int, verdict: Verdict, facts: Mapping[str, Any]) -> Item:
        row = self._row(page, view, (self.span.source.family or "user",), facts)
        leave = row.filtered if verdict.status == "filtered" else row.quarantined
        return leave(verdict.category, verdict.reason)

    def _clean_page(self, content: PageContent, facts: dict[str, Any]) -> CleanPage | Verdict:
        """Route, words, regions of one page, or the verdict that leaves it out; ``facts`` takes what both rest on."""
        settings, source = self.settings, self.span.source
        route = route_page(content.texts, content.invisible, content.image_area, has_ink(content.image))
        self.tally["routes"][route.route] += 1
        facts["route"] = asdict(route)
        facts["points"] = [round(side, 2) for side in content.points]
        facts["scale"] = round(content.scale, 6)
        if route.route == "blank":
            return Verdict("filtered", "empty_text", "the page is blank")
        by_line = max(content.image.shape[:2]) < settings.card_side
        regions: Sequence[TextRegion]
        if route.route == "scan":
            if not settings.ocr:
                return Verdict("filtered", "policy", "the page is a scan and OCR is off")
            page = PageRef(settings.engine, source.address, content.index, self._render)
            try:
                scan = read_scan(content, page, source.sha256, settings, self.read, by_line)
            except SandboxError as error:
                return Verdict("quarantined", "ocr", source.told(f"{error.category}: {error.message}"))
            regions, size, facts["ocr"] = scan.regions, scan.tokens, scan.facts
            found = scan.facts.get("kept", 0)
        else:
            words = visible_words(content.image, content.boxes, content.texts)
            wanted = settings.target != "parser"
            grouped = find_regions(content.image, words, settings.region_tokens, by_line, settings.layout, wanted)
            regions = [one.region for one in grouped]
            size, found = sum(region.tokens for region in regions), len(content.texts)
        if not regions:
            told = f"no readable text ({route.route}, {found} words or lines found)"
            return Verdict("filtered", "empty_text", told)
        if settings.filters.any_page:
            verdict, facts["text"] = judge_text("\n".join(region.text for region in regions), settings.filters)
            if verdict is not None:
                return verdict
        return CleanPage(content.image, tuple(regions), size, by_line, source, content.index, facts)

    @property
    def _render(self) -> Render:
        settings = self.settings
        return Render(
            dpi=settings.dpi,
            max_pixels=settings.max_pixels,
            natural=self.span.source.family == "card",
            grey=settings.jpeg_colour == "compact",
        )

    def _written(self, page: CleanPage, view: int) -> Item:
        made = make_view(page, view, self.settings)
        online = self.settings.form == "online"
        self.tally["regions"].update(region["level"] for region in made.regions)
        if online:
            self.tally["regions"][ONLINE] += len(page.regions)
        height, width = page.image.shape[:2]
        route = page.facts["route"]
        regions = [[region["level"], *region["bbox"]] for region in made.regions]
        tags = (page.family, route["route"], *((ONLINE,) if online else ()))
        row = self._row(page.page, view, tags, {"regions": regions, "route": route, "seed": self.settings.seed})
        return replace(row, views=1, width=width, height=height, text_bytes=made.text_bytes), made.parts


def category(name: str) -> str:
    return name if name in CATEGORIES else "parse"


def read_here(settings: DocumentShards) -> OcrReader:
    """OCR in a child of this process."""

    def read(page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads: np.ndarray | None) -> OcrLines:
        box = kept_sandbox(OCR_TARGET, settings.ocr_deadline_s, OCR_MEMORY, OCR_RECYCLE)
        return box.call(setup, image, task, quads)

    return read


def merge_tallies(receipts: Sequence[dict[str, Any]], group: str) -> dict[str, int]:
    """Sum of one group of counts over receipts; ``regions`` always names the three levels."""
    total: Counter[str] = Counter(dict.fromkeys(LEVELS, 0) if group == "regions" else {})
    for receipt in receipts:
        total.update(receipt[group])
    return dict(total)
