"""Numbered boxes: which regions are asked for, drawn on the page after the corruption and outside the regions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

COLOUR = (214, 39, 40)
DIGITS = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "3": "11110 00001 00001 01110 00001 00001 11110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "01110 10000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00001 01110",
}
GAP = 2  # pixels between a region and its frame


Mark = NDArray[np.bool_]
"""[h, w]: true where a mark has its colour, false where it is white."""

_WHOLE = np.ones((1, 1), dtype=bool)


@lru_cache(maxsize=256)
def tag(number: int, scale: int) -> Mark:
    """White digits (5 x 7 cells of ``scale`` pixels) on the colour of the frame."""
    rows = [np.array([[bit == "1" for bit in row] for row in DIGITS[digit].split()]) for digit in str(number)]
    glyphs = np.concatenate([np.pad(glyph, ((1, 1), (1, 0))) for glyph in rows], axis=1)
    glyphs = np.pad(glyphs, ((0, 0), (0, 1)))
    cells = ~np.repeat(np.repeat(glyphs, scale, axis=0), scale, axis=1)
    cells.flags.writeable = False
    return cells


def marks(
    size: tuple[int, int], boxes: Sequence[tuple[int, int, int, int]], numbers: bool = True
) -> Iterator[tuple[int, int, Mark]]:
    """(x, y, mark) in the order of drawing for a page of ``size`` (height, width): a frame ``GAP`` pixels outside each
    box (x0, y0, x1, y1) and, with ``numbers``, its number (from 1) at the upper left: left of the frame, else above it,
    else inside its corner. Other boxes' pixels may be crossed only where boxes touch."""
    height, width = size
    thick = max(1, round(max(height, width) / 700))
    scale = max(1, round(max(height, width) / 600))
    for x0, y0, x1, y1 in boxes:
        left, top = max(0, x0 - GAP - thick), max(0, y0 - GAP - thick)
        right, bottom = min(width, x1 + GAP + thick), min(height, y1 + GAP + thick)
        for a, b, c, d in (
            (left, top, right, min(top + thick, y0)),
            (left, max(bottom - thick, y1), right, bottom),
            (left, top, min(left + thick, x0), bottom),
            (max(right - thick, x1), top, right, bottom),
        ):
            if c > a and d > b:
                yield a, b, np.broadcast_to(_WHOLE, (d - b, c - a))
    for number, (x0, y0, _, _) in enumerate(boxes if numbers else (), 1):
        label = tag(number, scale)
        x, y = x0 - GAP - thick - label.shape[1], y0 - GAP - thick
        if x < 0:
            x, y = x0 - GAP - thick, y0 - GAP - thick - label.shape[0]
        x, y = max(0, min(x, width - label.shape[1])), max(0, min(y, height - label.shape[0]))
        yield x, y, label[: height - y, : width - x]


def draw_boxes(
    page: NDArray[np.uint8], boxes: Sequence[tuple[int, int, int, int]], numbers: bool = True
) -> NDArray[np.uint8]:
    """Draws ``marks`` on ``page`` [H, W, 3] itself and returns it."""
    for x, y, cells in marks(page.shape[:2], boxes, numbers):  # type: ignore[arg-type]
        place = page[y : y + cells.shape[0], x : x + cells.shape[1]]
        if cells.strides == (0, 0):
            place[:] = COLOUR
        else:
            place[:] = np.where(cells[:, :, None], np.array(COLOUR, dtype=np.uint8), np.uint8(255))
    return page
