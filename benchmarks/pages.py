"""PDFs made by code for the benchmarks: A4 pages of plausible text, the same bytes' worth of work on every machine.

Kinds take turns: one column (a heading, paragraphs), two columns, a table under a paragraph. About 400 words a page, as
in the reports and papers that the shared documents hold. ``cheap`` pages carry one paragraph, for runs over tens of
thousands of pages.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.images.words import ENGLISH

WIDTH, HEIGHT, MARGIN = 595.0, 842.0, 54.0
LEADING = 13.72  # PyMuPDF's distance of baselines at 10 points in its Helvetica


def make_pdfs(folder: Path, files: int, pages: int, seed: int = 0, cheap: bool = False) -> list[Path]:
    """Write ``files`` PDFs of ``pages`` pages each and return their paths; what is there already is kept. Every file
    and every page has a text of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(files):
        path = folder / f"{'cheap' if cheap else 'text'}-{seed}-{number:04d}x{pages}.pdf"
        if not path.exists():
            _write(path, np.random.default_rng([seed, number]), pages, cheap)
        paths.append(path)
    return paths


def _write(path: Path, rng: np.random.Generator, pages: int, cheap: bool) -> None:
    import pymupdf

    document = pymupdf.open()
    for number in range(pages):
        if cheap:
            page = document.new_page(width=300, height=200)
            page.insert_text((20, 30), textwrap.wrap(_text(rng, 40), 46), fontsize=10, fontname="helv")
        else:
            _page(document, rng, number)
    document.save(path, garbage=3, deflate=True)
    document.close()


def _page(document: Any, rng: np.random.Generator, number: int) -> None:
    page = document.new_page(width=WIDTH, height=HEIGHT)
    body = "tiro" if number % 2 else "helv"
    page.insert_text((MARGIN, MARGIN + 18), _text(rng, 5).title().rstrip("."), fontsize=18, fontname="hebo")
    top = MARGIN + 36
    if number % 3 == 1:
        middle = WIDTH / 2
        for left, right in ((MARGIN, middle - 10), (middle + 10, WIDTH - MARGIN)):
            _paragraphs(page, rng, (left, top, right, HEIGHT - MARGIN), body, 6)
        return
    bottom = HEIGHT - MARGIN if number % 3 == 0 else HEIGHT * 0.6
    _paragraphs(page, rng, (MARGIN, top, WIDTH - MARGIN, bottom), body, 6 if number % 3 == 0 else 3)
    if number % 3 == 2:
        for row in range(12):
            y = HEIGHT * 0.62 + 20 * row
            page.draw_line((MARGIN, y + 5), (WIDTH - MARGIN, y + 5), width=0.4)
            for column in range(4):
                text = _text(rng, 1) if column == 0 else f"{rng.uniform(0, 1000):.2f}"
                page.insert_text((MARGIN + 124 * column, y), text, fontsize=9, fontname=body)


def _paragraphs(
    page: Any, rng: np.random.Generator, box: tuple[float, float, float, float], font: str, count: int
) -> None:
    """``count`` paragraphs that fill the box (x0, y0, x1, y1, points) but for an empty line between them."""
    left, top, right, bottom = box
    per_line = int((right - left) / 5.1)  # characters; no line of 10 points is wider than the box
    rows = int((bottom - top) / count / LEADING) - 1
    for number in range(count):
        lines = textwrap.wrap(_text(rng, per_line * rows // 5), per_line)[:rows]
        page.insert_text((left, top + number * (rows + 1) * LEADING + 10), lines, fontsize=10, fontname=font)


def _text(rng: np.random.Generator, words: int) -> str:
    chosen = [ENGLISH[i] for i in rng.integers(len(ENGLISH), size=words)]
    for start in range(0, words, 11):
        chosen[start] = chosen[start].capitalize()
        if start:
            chosen[start - 1] += "."
    return " ".join(chosen) + "."
