"""Boxes of lines shrunk to their ink, all lines of a page at once.

Fonts with tall metrics give boxes that reach into the next line: two boxes under each other are first parted at a row
without ink between their middles. The darkest value of every row of every box is found in one pass over the image, which
says all where the paper is light grey; other boxes are looked at alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.corruption.view import Pixels
from pipelines.documents.ink import REACH, ink_span, least_ink, paper_of, runs
from pipelines.documents.layout import Line

PAD = 2  # pixels around the ink
NEAR = 11  # lines below one that may reach into it
Boxes = NDArray[np.intp]
"""[4, N]: x0, y0, x1, y1 in pixels, half open, inside the image."""

_SAMPLES = np.linspace(0, 1, 24)[:, None]  # places on an edge
_MOST = 10_000_000  # more rows than any image has


def tight_boxes(image: NDArray[np.uint8], lines: Sequence[Line]) -> list[Pixels | None]:
    """For each line the box of its ink with ``PAD`` pixels around it (not above or below what parts it from the next
    line; beside it, it may leave the image by ``PAD``), None for a line without ink."""
    found: list[Pixels | None] = [None] * len(lines)
    if not lines:
        return found
    boxes = _edges(lines, image.shape)
    _part(image, boxes, np.argsort([line.box[1] + line.box[3] for line in lines], kind="stable"))
    x0, y0, x1, y1 = boxes
    kept = np.flatnonzero((x1 - x0 >= 2) & (y1 - y0 >= 2))
    if not len(kept):
        return found
    first, last = _spans(image, boxes[:, kept])
    for at, a, b in zip(kept.tolist(), first.tolist(), last.tolist(), strict=True):
        if a >= 0:
            left, top, right, bottom = boxes[:, at].tolist()
            found[at] = (left - PAD, max(top, top + a - PAD), right + PAD, min(bottom, top + b + 1 + PAD))
    return found


def _edges(lines: Sequence[Line], shape: tuple[int, ...]) -> Boxes:
    height, width = shape[:2]
    boxes = np.array([line.box for line in lines]).T.astype(np.intp)  # cuts towards zero
    boxes += np.array([[-1], [0], [2], [1]])
    return np.clip(boxes, [[0], [0], [-_MOST], [-_MOST]], [[_MOST], [_MOST], [width], [height]])


def _part(image: NDArray[np.uint8], boxes: Boxes, order: NDArray[np.intp]) -> None:
    """Move the lower edge of a box and the upper edge of one below that it reaches into to the first row with the least
    ink between their middles. ``order`` goes from above to below."""
    x0, y0, x1, y1 = boxes
    place = np.arange(len(order))[:, None] + np.arange(1, NEAR + 1)
    below = order[np.minimum(place, len(order) - 1)]
    above = order[:, None]
    reaching = (place < len(order)) & (y0[below] < y1[above])
    reaching &= np.minimum(x1[above], x1[below]) > np.maximum(x0[above], x0[below])
    rank, column = np.nonzero(reaching)
    upper, lower = order[rank], below[rank, column]
    first, last = (y0[upper] + y1[upper]) // 2, (y0[lower] + y1[lower] + 1) // 2
    kept = last > first
    upper, lower, first, last = upper[kept], lower[kept], first[kept], last[kept]
    if not len(upper):
        return
    between = np.stack([np.minimum(x0[upper], x0[lower]), first, np.maximum(x1[upper], x1[lower]), last])
    full = (x1 > x0) & (y1 > y0)
    papers = np.full(len(x0), -1)
    papers[full] = _light_papers(image, boxes[:, full])
    cuts = first + _least(image, between, np.where(papers[upper] == papers[lower], papers[upper], -1))
    tops, bottoms = y0.tolist(), y1.tolist()
    for a, b, cut in zip(upper.tolist(), lower.tolist(), cuts.tolist(), strict=True):
        if tops[b] < bottoms[a]:
            bottoms[a] = tops[b] = cut
    boxes[1], boxes[3] = tops, bottoms


def _least(image: NDArray[np.uint8], boxes: Boxes, papers: NDArray[np.intp]) -> NDArray[np.intp]:
    """``least_ink`` of each box."""
    inked, rows, starts = _inked_rows(image, boxes, papers)
    found = np.minimum.reduceat(np.where(inked, _MOST, rows), starts)
    for at in np.flatnonzero((papers < 0) | (found == _MOST)).tolist():
        found[at] = least_ink(image, tuple(boxes[:, at].tolist()))
    return found


def _spans(image: NDArray[np.uint8], boxes: Boxes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """``ink_span`` of each box, -1 and -1 where there is none."""
    papers = _light_papers(image, boxes)
    inked, rows, starts = _inked_rows(image, boxes, papers)
    first = np.minimum.reduceat(np.where(inked, rows, _MOST), starts)
    last = np.maximum.reduceat(np.where(inked, rows, -1), starts)
    for at in np.flatnonzero(papers < 0).tolist():
        span = ink_span(image, tuple(boxes[:, at].tolist()))
        first[at], last[at] = span or (_MOST, -1)
    first[last < 0] = -1
    return first, last


def _inked_rows(
    image: NDArray[np.uint8], boxes: Boxes, papers: NDArray[np.intp]
) -> tuple[NDArray[np.bool_], NDArray[np.intp], NDArray[np.intp]]:
    """Of all rows of all boxes: is there ink (meaningless without light grey paper), and the number of the row in its
    box; and where each box starts. No box is empty."""
    x0, y0, x1, y1 = boxes
    high = y1 - y0
    rows = runs(high)
    places = (np.repeat(y0, high) + rows) * image.shape[1]
    ends = np.empty((len(rows), 2), dtype=np.intp)
    ends[:, 0], ends[:, 1] = places + np.repeat(x0, high), places + np.repeat(x1, high)
    ends *= image.shape[2]
    # The last value of the image is where nothing can end; it is not looked at.
    darkest = np.minimum.reduceat(image.reshape(-1), np.minimum(ends.reshape(-1), image.size - 1))[::2]
    inked = darkest < np.repeat(papers - REACH, high)
    return inked, rows, np.cumsum(high) - high


def _light_papers(image: NDArray[np.uint8], boxes: Boxes) -> NDArray[np.intp]:
    """Grey value of the paper of each box, -1 where it is coloured or not light. White where most of some pixels of the
    upper and lower edge are; else ``paper_of`` says it."""
    x0, y0, x1, y1 = boxes
    columns = x0 + (_SAMPLES * (x1 - x0 - 1)).astype(np.intp)
    white = np.zeros(len(x0), dtype=np.intp)
    for row in (y0, y1 - 1):
        white += (image[row, columns] == 255).all(axis=2).sum(axis=0)
    papers = np.full(len(x0), 255, dtype=np.intp)
    for at in np.flatnonzero(white <= 1.2 * len(_SAMPLES)).tolist():
        left, top, right, bottom = boxes[:, at].tolist()
        colour = paper_of(image[top:bottom, left:right])
        papers[at] = colour[0] if min(colour) == max(colour) >= 255 - REACH else -1
    return papers
