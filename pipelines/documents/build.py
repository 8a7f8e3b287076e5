"""One unit: pages in, a shard and its manifest out, every planned view accounted for.

Runs in a Ray task or in process. The sandboxes are kept by the worker process from unit to unit; the OCR child starts
with the first scan."""

from __future__ import annotations

import atexit
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.core.sandbox import Sandbox, SandboxError
from pipelines.corruption.operators import LEVELS
from pipelines.documents.config import DocumentSettings
from pipelines.documents.engine import PageContent, PageFailure, Render
from pipelines.documents.extract import COUNT, READ
from pipelines.documents.ink import has_ink
from pipelines.documents.ocr import NAMES, describe_models, find_models, model_folders
from pipelines.documents.ocr_reader import TARGET as OCR_TARGET
from pipelines.documents.ocr_reader import OcrLines, OcrSetup
from pipelines.documents.plan import PageUnit, Span, Verdict
from pipelines.documents.reader import read_file
from pipelines.documents.regions import find_regions, visible_words
from pipelines.documents.routing import route_page
from pipelines.documents.sample import CleanPage, make_view
from pipelines.shards.manifest import CATEGORIES, Row
from pipelines.shards.plan import SourceItem
from pipelines.shards.unit import Item, write_unit

STAGE = "documents"
SUFFIXES = (".pdf",)
KEY_LETTER = "d"
OCR_MEMORY = 8 << 30
OCR_RECYCLE = 300  # pages; PaddleOCR grows on long runs

_boxes: dict[tuple[Any, ...], Sandbox] = {}


def _sandbox(target: str, deadline_s: float, memory_bytes: int, recycle: int = 20_000) -> Sandbox:
    """The worker's child for a target, started when first used and killed when the worker ends."""
    key = (target, deadline_s, memory_bytes)
    if key not in _boxes:
        if not _boxes:
            atexit.register(close_sandboxes)
        _boxes[key] = Sandbox(target, deadline_s, memory_bytes, recycle_items=recycle)
    return _boxes[key]


def close_sandboxes() -> None:
    """Kill the children of this process."""
    for box in _boxes.values():
        box.close()
    _boxes.clear()


@dataclass(frozen=True)
class PageJob:
    """A unit and all that decides its bytes; small enough to send to a worker."""

    unit: PageUnit
    settings: DocumentSettings
    directory: str


@dataclass(frozen=True)
class ProbeJob:
    """Files to count the pages of."""

    sources: tuple[SourceItem, ...]
    settings: DocumentSettings


def probe_files(job: ProbeJob) -> dict[str, int | Verdict]:
    """Pages of each file by name, or the verdict that the file cannot be opened."""
    settings = job.settings
    box = _sandbox(COUNT, settings.page_deadline_s, settings.memory_bytes)
    found: dict[str, int | Verdict] = {}
    for source in job.sources:
        if not source.sha256:
            found[source.name] = Verdict("quarantined", "source_unavailable", "the file cannot be read")
            continue
        try:
            found[source.name] = box.call(settings.engine, source.path)
        except SandboxError as error:
            found[source.name] = Verdict("quarantined", _category(error.category), error.message)
    return found


def build_page_unit(job: PageJob) -> dict[str, Any]:
    """Write one unit. Returns the receipt of ``write_unit`` with ``regions`` (ok regions per level), ``routes``
    (pages per route) and ``categories`` (rows per category that are not ok)."""
    tally: Counter[str] = Counter()
    planned = sum(span.pages * job.settings.views_per_page if span.verdict is None else 1 for span in job.unit.spans)
    receipt = write_unit(job.directory, job.unit.name, _items(job, tally), planned)
    for group in ("regions", "routes", "categories"):
        receipt[group] = {
            name.partition("/")[2]: count for name, count in sorted(tally.items()) if name.startswith(f"{group}/")
        }
    return receipt


def _items(job: PageJob, tally: Counter[str]) -> Iterator[Item]:
    for span in job.unit.spans:
        for row, parts in _span_items(span, job.settings, tally):
            if row.status != "ok":
                tally[f"categories/{row.category}"] += 1
            yield row, parts


def _span_items(span: Span, settings: DocumentSettings, tally: Counter[str]) -> Iterator[Item]:
    if span.verdict is not None:
        yield _unwritten(span, None, 0, span.verdict), None
        return
    box = _sandbox(READ, settings.page_deadline_s, settings.memory_bytes)
    natural = span.source.family == "card"
    render = Render(dpi=settings.dpi, max_pixels=settings.max_pixels, natural=natural)
    for answer in read_file(box, settings.engine, span.source.path, span.first, span.last, render):
        page: CleanPage | Verdict
        if isinstance(answer, PageFailure):
            page = Verdict("quarantined", _category(answer.category), answer.message)
        else:
            page = _clean_page(span, answer, settings, tally)
        for view in range(settings.views_per_page):
            if isinstance(page, Verdict):
                yield _unwritten(span, answer.index, view, page), None
            else:
                yield _written(span, page, view, settings, tally)


def _category(name: str) -> str:
    return name if name in CATEGORIES else "parse"


def _key(span: Span, page: int | None, view: int) -> str:
    start = span.source.key(KEY_LETTER)
    return f"{start}-file" if page is None else f"{start}-p{page:05d}-v{view:02d}"


def _unwritten(span: Span, page: int | None, view: int, verdict: Verdict) -> Row:
    source = span.source
    return Row(
        key=_key(span, page, view),
        status=verdict.status,  # type: ignore[arg-type]
        category=verdict.category,
        reason=verdict.reason,
        stage=STAGE,
        source=source.name,
        source_digest=source.sha256,
        split=source.split,
        kind="document",
        item=-1 if page is None else page,
        tags=(source.family or "user",),
    )


def _clean_page(
    span: Span, content: PageContent, settings: DocumentSettings, tally: Counter[str]
) -> CleanPage | Verdict:
    """Route, words, regions of one page; a verdict when it has no text to ask for."""
    route = route_page(content.texts, content.invisible, content.image_area, has_ink(content.image))
    tally[f"routes/{route.route}"] += 1
    facts: dict[str, Any] = {"route": route.record(), "points": [round(side, 2) for side in content.points]}
    facts["scale"] = round(content.scale, 6)
    if route.route == "blank":
        return Verdict("filtered", "empty_text", "the page is blank")
    boxes: np.ndarray = content.boxes
    texts: Sequence[str] = content.texts
    if route.route == "scan":
        if not settings.ocr:
            return Verdict("filtered", "policy", "the page is a scan and OCR is off")
        try:
            lines = _read_scan(content, settings)
        except SandboxError as error:
            return Verdict("quarantined", "ocr", f"{error.category}: {error.message}")
        good = [i for i, score in enumerate(lines.scores) if score >= settings.ocr_min_score]
        boxes, texts = lines.boxes[good], [lines.texts[i] for i in good]
        scores = [lines.scores[i] for i in good]
        facts["ocr"] = {"lines": len(lines.texts), "kept": len(good), "min_score": min(scores, default=0.0)}
    by_line = max(content.image.shape[:2]) < settings.card_side
    regions = find_regions(content.image, visible_words(content.image, boxes, texts), settings.tokens, by_line)
    if not regions:
        return Verdict("filtered", "empty_text", f"no readable text ({route.route}, {len(texts)} words or lines found)")
    return CleanPage(
        image=content.image,
        regions=tuple(regions),
        by_line=by_line,
        source=span.source.name,
        source_digest=span.source.sha256,
        page=content.index,
        family=span.source.family or "user",
        split=span.source.split,
        facts=facts,
    )


def _read_scan(content: PageContent, settings: DocumentSettings) -> OcrLines:
    """Lines of a scanned page. Raises SandboxError, also when there are no models."""
    setup = _ocr_setup(settings)
    box = _sandbox(OCR_TARGET, settings.ocr_deadline_s, OCR_MEMORY, OCR_RECYCLE)
    return box.call(setup, content.image)


def _ocr_setup(settings: DocumentSettings) -> OcrSetup:
    folders = (settings.ocr_detection_model_dir, settings.ocr_recognition_model_dir)
    models = find_models(*folders)
    if not describe_models(*folders)["ready"]:
        raise SandboxError("missing", "there are no OCR models or no PaddleOCR (install the extra 'ocr')")
    detection, recognition = model_folders(models)
    return OcrSetup(
        str(detection),
        str(recognition),
        NAMES["detection"],
        NAMES["recognition"],
        settings.ocr_threads,
        settings.ocr_side,
    )


def _written(span: Span, page: CleanPage, view: int, settings: DocumentSettings, tally: Counter[str]) -> Item:
    made = make_view(page, view, settings)
    for region in made.regions:
        tally[f"regions/{region['level']}"] += 1
    height, width = page.image.shape[:2]
    detail = {
        "regions": [[region["level"], *region["bbox"]] for region in made.regions],
        "route": page.facts["route"],
        "seed": settings.seed,
    }
    row = Row(
        key=_key(span, page.page, view),
        status="ok",
        stage=STAGE,
        source=page.source,
        source_digest=page.source_digest,
        split=page.split,
        kind="document",
        item=page.page,
        views=1,
        width=width,
        height=height,
        text_bytes=made.text_bytes,
        tags=(page.family, page.facts["route"]["route"]),
        detail=json.dumps(detail, sort_keys=True, separators=(",", ":")),
    )
    return row, made.parts


def merge_tallies(receipts: Sequence[dict[str, Any]], group: str) -> dict[str, int]:
    """Sum of one group of counts over receipts; ``regions`` always names the three levels."""
    total: Counter[str] = Counter(dict.fromkeys(LEVELS, 0) if group == "regions" else {})
    for receipt in receipts:
        total.update(receipt[group])
    return dict(total)
