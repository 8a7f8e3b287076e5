"""A word as pixels, set large in a font face of the corpus; shared by clips and pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

COLOURS = {
    "red": (205, 40, 35),
    "green": (30, 140, 60),
    "blue": (35, 80, 200),
    "orange": (240, 140, 20),
    "purple": (130, 50, 150),
    "black": (25, 25, 25),
}
"""Names of colours and their RGB; dark enough for a pale background."""


def word_mask(text: str, face: str, width: int, height: int) -> np.ndarray:
    """Ink of ``text`` centred in a picture: float32 [height, width], 0 paper to 1 ink. As large as fits 86 % of the
    width and half of the height. PyMuPDF is imported here only."""
    sys.modules.setdefault("pymupdf.layout", None)  # type: ignore[arg-type]  # an add-on that loads onnxruntime
    import pymupdf

    font = pymupdf.Font(face)
    size = min(0.86 * width / font.text_length(text, fontsize=1.0), 0.5 * height)
    document = pymupdf.open()
    page = document.new_page(width=width, height=height)
    writer = pymupdf.TextWriter(page.rect)
    start = (width - font.text_length(text, fontsize=size)) / 2
    writer.append((start, height / 2 + 0.35 * size), text, font=font, fontsize=size)
    writer.write_text(page)
    pixmap = page.get_pixmap(colorspace=pymupdf.csGRAY, alpha=False)
    grey = np.frombuffer(pixmap.samples, np.uint8).reshape(pixmap.height, pixmap.stride)[:, : pixmap.width]
    document.close()
    return (255 - grey).astype(np.float32) / 255


def paint(mask: np.ndarray, ink: Sequence[int], paper: Sequence[int]) -> np.ndarray:
    """uint8 [height, width, 3]: ``ink`` over ``paper`` by the mask."""
    blend = mask[..., None]
    mixed = blend * np.asarray(ink, np.float32) + (1 - blend) * np.asarray(paper, np.float32)
    return np.rint(mixed).astype(np.uint8)
