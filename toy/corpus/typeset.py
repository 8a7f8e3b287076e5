"""Text set by PyMuPDF: pages of PDFs, and single words as pixels. Imported where a part is written, not before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from pipelines.images.fonts import faces
from pipelines.images.words import draw_word

sys.modules.setdefault("pymupdf.layout", None)  # type: ignore[arg-type]  # an add-on that loads onnxruntime
import pymupdf  # noqa: E402

Document = pymupdf.Document

WIDTH, HEIGHT = 224, 112
"""Of cards (points), clips and pictures (pixels)."""

COLOURS = {
    "red": (205, 40, 35),
    "green": (30, 140, 60),
    "blue": (35, 80, 200),
    "orange": (240, 140, 20),
    "purple": (130, 50, 150),
    "black": (25, 25, 25),
}
"""Names of colours and their RGB; dark enough for a pale background."""


@cache
def font(face: str) -> pymupdf.Font:
    return pymupdf.Font(face)


@cache
def _advance(face: str, character: str) -> float:
    return float(font(face).glyph_advance(ord(character)))


def text_width(face: str, text: str, size: float) -> float:
    """Points that a line takes; ``Font.text_length`` with each glyph measured once."""
    return size * sum(_advance(face, character) for character in text)


def open_pdf() -> pymupdf.Document:
    """A document without pages."""
    return pymupdf.open()


class Sheet:
    """A page at the end of a document. Sizes and places are points, ``y`` that of the baseline; lines show once
    ``finish`` is called."""

    def __init__(
        self, document: pymupdf.Document, width: float, height: float, ink: Sequence[float] | None = None
    ) -> None:
        self.page = document.new_page(width=width, height=height)
        self.writer = pymupdf.TextWriter(self.page.rect, color=ink)

    def line(self, x: float, y: float, text: str, size: float, face: str) -> None:
        self.writer.append((x, y), text, font=font(face), fontsize=size)

    def finish(self) -> None:
        self.writer.write_text(self.page)


def pixels(page: pymupdf.Page, colours: pymupdf.Colorspace = pymupdf.csRGB) -> np.ndarray:
    """uint8 [height, width, channels], a pixel a point."""
    pixmap = page.get_pixmap(colorspace=colours, alpha=False)
    return np.frombuffer(pixmap.samples, np.uint8).reshape(pixmap.height, pixmap.width, -1)


def save_pdf(document: pymupdf.Document, path: Path) -> None:
    """Write and close a document, byte-identical for equal pages: no random ids, no dates, fonts cut to the glyphs in
    use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document.set_metadata({"title": path.stem, "producer": "cookhouse", "creator": "cookhouse"})
    document.subset_fonts()
    document.save(path, garbage=3, deflate=True, no_new_id=True)
    document.close()


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def drawn_word(rng: np.random.Generator, split: str) -> tuple[str, str, np.ndarray]:
    """A word of the split, a colour, and its ink in a face of the split."""
    word, colour = draw_word(rng, split), pick(rng, tuple(COLOURS))
    return word, colour, _ink(word, pick(rng, faces(split)))


def _ink(text: str, face: str) -> np.ndarray:
    """``text`` centred in a picture: float32 [HEIGHT, WIDTH], 0 paper to 1 ink. As large as fits 86 % of the width and
    half of the height."""
    size = min(0.86 * WIDTH / text_width(face, text, 1.0), 0.5 * HEIGHT)
    with open_pdf() as document:
        sheet = Sheet(document, WIDTH, HEIGHT)
        sheet.line((WIDTH - text_width(face, text, size)) / 2, HEIGHT / 2 + 0.35 * size, text, size, face)
        sheet.finish()
        return (255 - pixels(sheet.page, pymupdf.csGRAY)[..., 0]).astype(np.float32) / 255


def paint(mask: np.ndarray, ink: Sequence[int], paper: Sequence[int]) -> np.ndarray:
    """uint8 [height, width, 3]: ``ink`` over ``paper`` by the mask."""
    blend = mask[..., None]
    mixed = blend * np.asarray(ink, np.float32) + (1 - blend) * np.asarray(paper, np.float32)
    return np.rint(mixed).astype(np.uint8)
