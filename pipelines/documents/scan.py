"""Text of a scanned page. All lines are read, or (``ocr_lines: chosen``) all are detected and only those are read that
may be asked for, and a few more to judge the page by: recognition is three quarters of the cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.core.sandbox import SandboxError
from pipelines.core.seeds import generator
from pipelines.corruption.operators import OPERATOR_VERSION
from pipelines.corruption.view import TextRegion, choose
from pipelines.documents.config import DocumentShards
from pipelines.documents.engine import PageContent, Render
from pipelines.documents.layout import Box, Line, Word
from pipelines.documents.ocr import NAMES, describe_models, find_models, model_folders
from pipelines.documents.ocr_reader import OcrLines, OcrSetup, Task
from pipelines.documents.regions import Grouped, clean_text, group_regions, tokens, visible_words
from pipelines.documents.routing import is_broken

TURNS = 3  # draws of candidates, as long as none of a page was read well
FILLER = "x"  # stands for a letter of a line that was detected and not read


@dataclass(frozen=True)
class PageRef:
    """A page by address: what an OCR actor renders for itself, so that no picture travels."""

    engine: str
    address: str
    index: int
    render: Render


class OcrReader(Protocol):
    """Runs one OCR task on a page, here or in an actor. ``quads`` [N, 4, 2] are the lines to recognise. Raises
    SandboxError."""

    def __call__(
        self, page: PageRef, image: NDArray[np.uint8], setup: OcrSetup, task: Task, quads: NDArray[np.float32] | None
    ) -> OcrLines: ...


@dataclass(frozen=True)
class ScanText:
    """Regions whose text was read, the size of the page's whole text in tokens, facts for the row."""

    regions: tuple[TextRegion, ...]
    tokens: float
    facts: dict[str, Any]


def ocr_setup(settings: DocumentShards) -> OcrSetup:
    """Model files and limits. Raises SandboxError when the models or their engine are not here."""
    folders = (settings.ocr_detection_model_dir, settings.ocr_recognition_model_dir)
    models = find_models(*folders)
    if not describe_models(settings.ocr_engine, *folders)["ready"]:
        raise SandboxError("missing", f"there are no OCR models or no {settings.ocr_engine} (install the extra 'ocr')")
    detection, recognition = model_folders(models)
    return OcrSetup(
        settings.ocr_engine,
        settings.ocr_device,
        str(detection),
        str(recognition),
        NAMES["detection"],
        NAMES["recognition"],
        settings.ocr_threads,
        settings.ocr_side,
    )


def read_scan(
    content: PageContent, page: PageRef, source_digest: str, settings: DocumentShards, read: OcrReader, by_line: bool
) -> ScanText:
    """Text of one scanned page. Raises SandboxError, also when there are no models."""
    setup = ocr_setup(settings)
    if settings.ocr_lines == "all":
        return _read_all(content, page, setup, settings, read, by_line)
    return _read_chosen(content, page, source_digest, setup, settings, read, by_line)


def _read_all(
    content: PageContent,
    page: PageRef,
    setup: OcrSetup,
    settings: DocumentShards,
    read: OcrReader,
    by_line: bool,
) -> ScanText:
    lines = read(page, content.image, setup, "all", None)
    good = [i for i, score in enumerate(lines.scores) if score >= settings.ocr_min_score]
    texts = [lines.texts[i] for i in good]
    words = visible_words(content.image, lines.boxes[good], texts)
    found = group_regions(content.image, words, settings.region_tokens, by_line, settings.layout)
    facts = {
        "lines": len(lines.texts),
        "kept": len(good),
        "min_score": min((lines.scores[i] for i in good), default=0.0),
    }
    boxes = np.delete(lines.boxes, good, axis=0)
    bad = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes.tolist()]
    parts = [region for grouped in found for region in _without(content.image, grouped, bad, settings, by_line)]
    regions = tuple(region for region in parts if region.tokens >= settings.region_tokens[0]) or tuple(parts)
    return ScanText(regions, sum(region.tokens for region in regions), facts)


def _without(
    image: NDArray[np.uint8],
    grouped: Grouped,
    bad: Sequence[tuple[float, float]],
    settings: DocumentShards,
    by_line: bool,
) -> list[TextRegion]:
    """A region, parted where the middle of a line that was read badly lies in it: its ink has no label."""

    def inside(region: TextRegion) -> list[float]:
        x0, y0, x1, y1 = region.bbox
        return [y for x, y in bad if x0 < x < x1 and y0 < y < y1]

    cuts = inside(grouped.region)
    if not cuts:
        return [grouped.region]
    found: list[TextRegion] = []
    for _, run in groupby(grouped.lines, lambda line: sum(2 * y < line.box[1] + line.box[3] for y in cuts)):
        found += _laid_out(image, _words_of(list(run)), settings, by_line)
    return [region for region in found if not inside(region)]


def _laid_out(
    image: NDArray[np.uint8], words: Sequence[Word], settings: DocumentShards, by_line: bool
) -> list[TextRegion]:
    found = group_regions(image, words, settings.region_tokens, by_line, settings.layout)
    return [grouped.region for grouped in found]


def _read_chosen(
    content: PageContent,
    page: PageRef,
    source_digest: str,
    setup: OcrSetup,
    settings: DocumentShards,
    read: OcrReader,
    by_line: bool,
) -> ScanText:
    """Detect, lay out, draw candidates and a sample, recognise only these. Of a candidate the lines read with at least
    ``ocr_min_score`` stay; if they are too few, others are drawn, at most ``TURNS`` times. The size of the page's text is
    guessed from the shapes of its lines, and put right by the lines that were read."""
    detected = read(page, content.image, setup, "detect", None)
    fillers = [_filler(box) for box in detected.boxes.tolist()]
    words = visible_words(content.image, detected.boxes, fillers)
    found = group_regions(content.image, words, settings.region_tokens, by_line, settings.layout)
    total = sum(grouped.region.tokens for grouped in found)
    rng = generator("ocr", settings.seed, source_digest, content.index, OPERATOR_VERSION)
    number_of = {tuple(box): number for number, box in enumerate(detected.boxes.tolist())}
    texts: dict[int, str] = {}
    scores: dict[int, float] = {}
    good: dict[int, list[TextRegion]] = {}  # by place in reading order
    left, least = found, settings.region_tokens[0]
    for turn in range(TURNS):
        candidates = _candidates(left, total, settings, rng, by_line)
        asked = {number_of[word.box] for grouped in candidates for word in _words_of(grouped.lines)}
        if turn == 0:
            rest = [number for number in range(len(fillers)) if number not in asked]
            asked.update(rest[i] for i in rng.permutation(len(rest))[: settings.ocr_sample].tolist())
        new = sorted(asked - texts.keys())
        if new:
            lines = read(page, content.image, setup, "recognise", detected.quads[new])
            texts.update(zip(new, lines.texts, strict=True))
            scores.update(zip(new, lines.scores, strict=True))
        well = {
            tuple(detected.boxes[i].tolist()): clean_text(texts[i])
            for i in texts
            if scores[i] >= settings.ocr_min_score and _clean(texts[i])
        }
        for grouped in candidates:
            place = next(i for i, one in enumerate(found) if one is grouped)
            good[place] = _read_well(content.image, grouped, well, settings, by_line)
        kept = [region for place in sorted(good) for region in good[place]]
        left = [grouped for grouped in left if grouped not in candidates]
        if any(region.tokens >= least for region in kept) or not left:
            break
    kept = [region for region in kept if region.tokens >= least] or kept
    facts = {
        "detected": len(fillers),
        "read": len(texts),
        "kept": len(kept),
        "min_score": min(scores.values(), default=0.0),
        "mean_score": round(sum(scores.values()) / len(scores), 3) if scores else 0.0,
    }
    guessed = sum(tokens(fillers[i]) for i in texts)
    told = sum(tokens(text) for text in texts.values())
    return ScanText(tuple(kept), total * told / guessed if told else total, facts)


def _read_well(
    image: NDArray[np.uint8], grouped: Grouped, texts: Mapping[Box, str], settings: DocumentShards, by_line: bool
) -> list[TextRegion]:
    """A region with the ``texts`` of its words by box. Where a word has none its line is left out, and what stands above
    and below are regions of their own."""
    runs = [
        list(run) for good, run in groupby(grouped.lines, lambda line: all(w.box in texts for w in line.words)) if good
    ]
    if [len(run) for run in runs] == [len(grouped.lines)]:
        text = grouped.joined(texts)
        return [replace(grouped.region, text=text, tokens=tokens(text))]
    found = []
    for run in runs:
        words = [Word(texts[word.box], word.box) for word in _words_of(run)]
        found += _laid_out(image, words, settings, by_line)
    return found


def _candidates(
    found: Sequence[Grouped], total: float, settings: DocumentShards, rng: np.random.Generator, by_line: bool
) -> list[Grouped]:
    """Enough regions for all views of the page, in reading order."""
    if by_line or settings.target == "parser" or settings.form == "online":
        return list(found)
    most = settings.regions[1]
    chosen: set[int] = set()
    for _ in range(settings.views_per_page):
        picked = choose([one.region for one in found], total, (most, most), settings.region_share, rng)
        chosen.update(i for i, one in enumerate(found) if one.region in picked)
    return [found[i] for i in sorted(chosen)]


def _words_of(lines: Sequence[Line]) -> list[Word]:
    return [word for line in lines for word in line.words]


def _filler(box: Sequence[float]) -> str:
    """As many letters as a line of this shape holds: about half its height each."""
    x0, y0, x1, y1 = box
    return FILLER * max(1, round(2 * (x1 - x0) / max(y1 - y0, 1.0)))


def _clean(text: str) -> bool:
    return bool(clean_text(text)) and not any(map(is_broken, text))
