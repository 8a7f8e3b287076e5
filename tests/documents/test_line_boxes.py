"""Boxes of all lines at once against the plain definition, line by line and pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.documents.ink import MAX_OVERLAP, ink_span, least_ink, stacked
from pipelines.documents.layout import Line, Word
from pipelines.documents.line_boxes import NEAR, PAD, tight_boxes

Box = tuple[float, float, float, float]


def line(box: Box) -> Line:
    return Line((Word("text", box),), box, box[3] - box[1])


def page(seed: int, paper: int, channels: int) -> tuple[NDArray[np.uint8], list[Line]]:
    """Two columns of lines whose boxes reach into their neighbours, on a paper of one grey; a heading on dark ground."""
    rng = np.random.default_rng(seed)
    image = np.full((420, 500, channels), paper, np.uint8)
    image[8:40, 10:300] = 60
    lines = [line((20.5, 9.2, 260.0, 41.0))]
    image[16:30, 24:250:4] = 235
    for left in (20, 265):
        for row in range(18):
            top, right = 50 + 20 * row + int(rng.integers(-1, 2)), left + int(rng.integers(60, 220))
            image[top : top + 9, left : right : int(rng.integers(2, 5))] = rng.integers(0, 90)
            if rng.random() < 0.7:
                image[top + 9 : top + 12, left + 4] = 10  # a descender
            lines.append(line((left - 0.6, top - 4.7, right + 0.4, top + 19.3)))
    lines.append(line((480.0, 400.0, 480.5, 401.0)))
    lines.append(line((310.0, 2.0, 480.0, 20.0)))  # nothing is there
    return image, [lines[i] for i in rng.permutation(len(lines))]


def plain(image: NDArray[np.uint8], lines: list[Line]) -> list[tuple[int, ...] | None]:
    """Every pair in turn, every line alone."""
    height, width = image.shape[:2]
    edges = [
        [max(0, int(b[0]) - 1), max(0, int(b[1])), min(width, int(b[2]) + 2), min(height, int(b[3]) + 1)]
        for b in (line.box for line in lines)
    ]
    order = sorted(range(len(lines)), key=lambda i: lines[i].box[1] + lines[i].box[3])
    start = [list(edge) for edge in edges]
    for at, i in enumerate(order):
        for j in order[at + 1 : at + 1 + NEAR]:
            (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = start[i], start[j]
            first, last = (ay0 + ay1) // 2, (by0 + by1 + 1) // 2
            if by0 < ay1 and min(ax1, bx1) > max(ax0, bx0) and last > first and edges[j][1] < edges[i][3]:
                cut = first + least_ink(image, (min(ax0, bx0), first, max(ax1, bx1), last))
                edges[i][3] = edges[j][1] = cut
    found: list[tuple[int, ...] | None] = []
    for x0, y0, x1, y1 in edges:
        rows = ink_span(image, (x0, y0, x1, y1)) if x1 - x0 >= 2 and y1 - y0 >= 2 else None
        box = rows and (x0 - PAD, max(y0, y0 + rows[0] - PAD), x1 + PAD, min(y1, y0 + rows[1] + 1 + PAD))
        found.append(box)
    return found


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("paper", [255, 246, 200])
@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_those_of_the_definition(seed: int, paper: int, channels: int) -> None:
    image, lines = page(seed, paper, channels)
    found = tight_boxes(image, lines)
    assert found == plain(image, lines)
    assert sum(box is None for box in found) == 2


def test_a_cut_lies_in_the_gap_between_two_lines_and_not_in_their_ink() -> None:
    image = np.full((100, 300, 1), 255, np.uint8)
    image[20:38, 20:280:2] = 0
    image[44:62, 20:280:2] = 0
    upper, lower = tight_boxes(image, [line((20, 14, 280, 48)), line((20, 36, 280, 72))])
    assert (upper, lower) == ((17, 18, 284, 38), (17, 42, 284, 64))


def test_no_lines_no_boxes() -> None:
    assert tight_boxes(np.zeros((9, 9, 1), np.uint8), []) == []


@pytest.mark.parametrize("seed", range(30))
def test_stacked_boxes_are_those_that_share_most_of_the_smaller(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 120))
    corner = rng.uniform(-20, 300, (count, 2))
    if seed % 3 == 0:
        corner = np.round(corner / 6) * 6
    size = rng.uniform(0 if seed % 2 else 8, 12 if seed % 3 == 0 else 70, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    if count and seed % 5 == 0:
        boxes[0] = [-1e7, -1e7, 1e7, 1e7]
    x0, y0, x1, y1 = boxes.T
    across = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
    down = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
    area = np.maximum((x1 - x0) * (y1 - y0), 1e-6)
    over = np.maximum(across, 0) * np.maximum(down, 0) > MAX_OVERLAP * np.minimum(area[:, None], area)
    np.fill_diagonal(over, False)
    np.testing.assert_array_equal(stacked(boxes), over.any(axis=1))
