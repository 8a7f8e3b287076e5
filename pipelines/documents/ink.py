"""The ink check: a word counts only if the clean raster shows something where it claims to be.

White, covered, clipped and invisible words have a text layer and no ink; as labels they would teach the model to
invent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_CONTRAST = 40  # grey levels between the lightest and the darkest pixel of a box
MAX_OVERLAP = 0.6
_CHUNK = 64


def contrast(image: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.int16]:
    """Range of grey levels inside each box [N, 4] (pixels) in its middle 90 %, of green, or of red or blue where
    green shows less than ``MIN_CONTRAST``. -1 for a box that is cut off: less than 90 % of its width or not the
    middle 40 % of its height on the image (above and below are often empty metrics of the font)."""
    height, width = image.shape[:2]
    result = np.full(len(boxes), -1, dtype=np.int16)
    if not len(boxes):
        return result
    x0, y0, x1, y1 = boxes.T
    w, h = x1 - x0, y1 - y0
    whole = (w > 0) & (h > 0) & (np.minimum(x1, width) - np.maximum(x0, 0) >= 0.9 * w)
    whole &= (y0 + 0.3 * h >= 0) & (y1 - 0.3 * h <= height)
    inner = np.stack([np.floor(x0 + 0.05 * w), np.floor(y0 + 0.05 * h), np.ceil(x1 - 0.05 * w), np.ceil(y1 - 0.05 * h)])
    corners = np.clip(inner, 0, None).astype(int).T.tolist()
    planes = [np.ascontiguousarray(image[:, :, 1]), image[:, :, 0], image[:, :, 2]]
    for i in np.flatnonzero(whole).tolist():
        left, top, right, bottom = corners[i]
        for plane in planes:
            pixels = plane[top:bottom, left:right]
            if pixels.size:
                result[i] = max(result[i], int(pixels.max()) - int(pixels.min()))
            if result[i] >= MIN_CONTRAST:
                break
    return result


def stacked(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True for boxes [N, 4] that share more than ``MAX_OVERLAP`` of their area (of the smaller one) with another: one
    of the two texts is covered, and the raster cannot say which."""
    hit = np.zeros(len(boxes), dtype=bool)
    order = np.argsort(boxes[:, 1], kind="stable")
    ranked = boxes[order]
    x0, y0, x1, y1 = ranked.T
    area = np.maximum((x1 - x0) * (y1 - y0), 1e-6)
    tallest = float((y1 - y0).max(initial=0.0))
    for start in range(0, len(boxes), _CHUNK):
        own = slice(start, min(start + _CHUNK, len(boxes)))
        near = slice(
            int(np.searchsorted(y0, y0[start] - tallest)), int(np.searchsorted(y0, y1[own].max(), side="right"))
        )
        across = np.minimum(x1[own, None], x1[near]) - np.maximum(x0[own, None], x0[near])
        down = np.minimum(y1[own, None], y1[near]) - np.maximum(y0[own, None], y0[near])
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        over = shared > MAX_OVERLAP * np.minimum(area[own, None], area[near])
        diagonal = np.arange(own.stop - own.start)
        over[diagonal, start - near.start + diagonal] = False
        hit[order[own]] = over.any(axis=1)
    return hit


def has_ink(image: NDArray[np.uint8]) -> bool:
    """Does the raster show anything at all?"""
    sample = image[::2, ::2]
    return bool((sample.max(axis=(0, 1)).astype(int) - sample.min(axis=(0, 1))).max() >= MIN_CONTRAST)


def ink_rows(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.int64]:
    """Pixels per row of the box that differ clearly from its paper (the median of its border)."""
    x0, y0, x1, y1 = box
    crop = image[y0:y1, x0:x1].astype(np.int16)
    border = np.concatenate([crop[0], crop[-1], crop[:, 0], crop[:, -1]])
    paper = np.sort(border, axis=0)[len(border) // 2]
    far = np.abs(crop - paper) >= MIN_CONTRAST // 2
    return (far[:, :, 0] | far[:, :, 1] | far[:, :, 2]).sum(axis=1)
