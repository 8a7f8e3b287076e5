"""Text of a scanned page. All lines are read, or (``ocr_lines: chosen``) all are detected and only those are read that
may be asked for, and a few more to judge the page by: recognition is three quarters of the cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.sandbox import SandboxError
from pipelines.core.seeds import generator
from pipelines.corruption.operators import OPERATOR_VERSION
from pipelines.corruption.view import TextRegion, choose
from pipelines.documents.config import DocumentShards
from pipelines.documents.engine import PageContent, Render
from pipelines.documents.layout import Box, Line, Word
from pipelines.documents.ocr import describe_models, find_models, model_folders
from pipelines.documents.ocr_reader import OcrLines, OcrSetup, Task
from pipelines.documents.regions import Grouped, clean_text, find_regions, tokens, visible_words
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


OcrReader = Callable[[PageRef, NDArray[np.uint8], OcrSetup, Task, NDArray[np.float32] | None], OcrLines]
"""(page, its image, setup, task, ``quads`` [N, 4, 2] of the lines to recognise): runs one OCR task on a page, here or in
an actor. Raises SandboxError."""


@dataclass(frozen=True)
class ScanText:
    """Regions whose text was read, the size of the page's whole text in tokens, facts for the row."""

    regions: tuple[TextRegion, ...]
    tokens: float
    facts: dict[str, Any]


def ocr_setup(settings: DocumentShards) -> OcrSetup:
    """Model files and limits. Raises SandboxError when the models or their engine are not here."""
    folders = (settings.ocr_detection_model_dir, settings.ocr_recognition_model_dir)
    if not describe_models(settings.ocr_engine, *folders)["ready"]:
        raise SandboxError("missing", f"there are no OCR models or no {settings.ocr_engine} (install the extra 'ocr')")
    detection, recognition = map(str, model_folders(find_models(*folders)))
    side, threads = settings.ocr_side, settings.ocr_threads
    return OcrSetup(settings.ocr_engine, settings.ocr_device, detection, recognition, threads, side)


def read_scan(
    content: PageContent, page: PageRef, source_digest: str, settings: DocumentShards, read: OcrReader, by_line: bool
) -> ScanText:
    """Text of one scanned page. Raises SandboxError, also when there are no models."""
    reading = _Reading(content, page, settings, read, by_line, ocr_setup(settings))
    return reading.all_lines() if settings.ocr_lines == "all" else reading.chosen_lines(source_digest)


@dataclass(frozen=True)
class _Reading:
    """All that reading one scanned page rests on."""

    content: PageContent
    page: PageRef
    settings: DocumentShards
    reader: OcrReader
    by_line: bool
    setup: OcrSetup

    def _read(self, task: Task, quads: NDArray[np.float32] | None = None) -> OcrLines:
        return self.reader(self.page, self.content.image, self.setup, task, quads)

    def _grouped(self, words: Sequence[Word]) -> list[Grouped]:
        settings = self.settings
        return find_regions(self.content.image, words, settings.region_tokens, self.by_line, settings.layout)

    def _regions(self, words: Sequence[Word]) -> list[TextRegion]:
        return [grouped.region for grouped in self._grouped(words)]

    def _long_enough(self, regions: Sequence[TextRegion]) -> tuple[TextRegion, ...]:
        """Those that may be asked for; if all are too short, all."""
        least = self.settings.region_tokens[0]
        return tuple(region for region in regions if region.tokens >= least) or tuple(regions)

    def all_lines(self) -> ScanText:
        lines = self._read("all")
        good = [i for i, score in enumerate(lines.scores) if score >= self.settings.ocr_min_score]
        found = self._grouped(visible_words(self.content.image, lines.boxes[good], [lines.texts[i] for i in good]))
        facts = {
            "lines": len(lines.texts),
            "kept": len(good),
            "min_score": min((lines.scores[i] for i in good), default=0.0),
        }
        boxes = np.delete(lines.boxes, good, axis=0)
        bad = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes.tolist()]
        regions = self._long_enough([region for grouped in found for region in self._without(grouped, bad)])
        return ScanText(regions, sum(region.tokens for region in regions), facts)

    def _without(self, grouped: Grouped, bad: Sequence[tuple[float, float]]) -> list[TextRegion]:
        """A region, parted where the middle of a line that was read badly lies in it: its ink has no label."""

        def inside(region: TextRegion) -> list[float]:
            x0, y0, x1, y1 = region.bbox
            return [y for x, y in bad if x0 < x < x1 and y0 < y < y1]

        cuts = inside(grouped.region)
        if not cuts:
            return [grouped.region]
        found: list[TextRegion] = []
        for _, run in groupby(grouped.lines, lambda line: sum(2 * y < line.box[1] + line.box[3] for y in cuts)):
            found += self._regions(_words_of(run))
        return [region for region in found if not inside(region)]

    def chosen_lines(self, source_digest: str) -> ScanText:
        """Detect, lay out, draw candidates and a sample, recognise only these. Of a candidate the lines read with at
        least ``ocr_min_score`` stay; if they are too few, others are drawn, at most ``TURNS`` times. The size of the
        page's text is guessed from the shapes of its lines, and put right by the lines that were read."""
        settings = self.settings
        detected = self._read("detect")
        boxes: list[Box] = [tuple(box) for box in detected.boxes.tolist()]
        fillers = [_filler(box) for box in boxes]
        found = self._grouped(visible_words(self.content.image, detected.boxes, fillers))
        total = sum(grouped.region.tokens for grouped in found)
        rng = generator("ocr", settings.seed, source_digest, self.content.index, OPERATOR_VERSION)
        number_of = {box: number for number, box in enumerate(boxes)}
        texts: dict[int, str] = {}
        scores: dict[int, float] = {}
        good: dict[int, list[TextRegion]] = {}  # by place in reading order
        left, kept = found, []
        for turn in range(TURNS):
            candidates = self._candidates(left, total, rng)
            asked = {number_of[word.box] for grouped in candidates for word in _words_of(grouped.lines)}
            if turn == 0:
                rest = [number for number in range(len(fillers)) if number not in asked]
                asked.update(rest[i] for i in rng.permutation(len(rest))[: settings.ocr_sample].tolist())
            new = sorted(asked - texts.keys())
            if new:
                lines = self._read("recognise", detected.quads[new])
                texts.update(zip(new, lines.texts, strict=True))
                scores.update(zip(new, lines.scores, strict=True))
            well = {
                boxes[i]: clean_text(text)
                for i, text in texts.items()
                if scores[i] >= settings.ocr_min_score and clean_text(text) and not any(map(is_broken, text))
            }
            for grouped in candidates:
                place = next(i for i, one in enumerate(found) if one is grouped)
                good[place] = self._read_well(grouped, well)
            kept = [region for place in sorted(good) for region in good[place]]
            left = [grouped for grouped in left if grouped not in candidates]
            if any(region.tokens >= settings.region_tokens[0] for region in kept) or not left:
                break
        regions = self._long_enough(kept)
        facts = {
            "detected": len(fillers),
            "read": len(texts),
            "kept": len(regions),
            "min_score": min(scores.values(), default=0.0),
            "mean_score": round(sum(scores.values()) / len(scores), 3) if scores else 0.0,
        }
        guessed = sum(tokens(fillers[i]) for i in texts)
        told = sum(tokens(text) for text in texts.values())
        return ScanText(regions, total * told / guessed if told else total, facts)

    def _read_well(self, grouped: Grouped, texts: Mapping[Box, str]) -> list[TextRegion]:
        """A region with the ``texts`` of its words by box. Where a word has none its line is left out, and what stands
        above and below are regions of their own."""
        runs = groupby(grouped.lines, lambda line: all(word.box in texts for word in line.words))
        whole = [list(run) for good, run in runs if good]
        if [len(run) for run in whole] == [len(grouped.lines)]:
            text = grouped.joined(texts)
            return [replace(grouped.region, text=text, tokens=tokens(text))]
        parts = [[Word(texts[word.box], word.box) for word in _words_of(run)] for run in whole]
        return [region for words in parts for region in self._regions(words)]

    def _candidates(self, found: Sequence[Grouped], total: float, rng: np.random.Generator) -> list[Grouped]:
        """Enough regions for all views of the page, in reading order."""
        settings = self.settings
        if self.by_line or settings.target == "parser" or settings.form == "online":
            return list(found)
        most = settings.regions[1]
        chosen: set[int] = set()
        for _ in range(settings.views_per_page):
            picked = choose([one.region for one in found], total, (most, most), settings.region_share, rng)
            chosen.update(i for i, one in enumerate(found) if one.region in picked)
        return [found[i] for i in sorted(chosen)]


def _words_of(lines: Iterable[Line]) -> list[Word]:
    return [word for line in lines for word in line.words]


def _filler(box: Box) -> str:
    """As many letters as a line of this shape holds: about half its height each."""
    x0, y0, x1, y1 = box
    return FILLER * max(1, round(2 * (x1 - x0) / max(y1 - y0, 1.0)))
