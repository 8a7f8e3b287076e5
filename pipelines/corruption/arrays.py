"""Small image arithmetic on crops [h, w, c]: blur, resampling, the colour of the paper, grey as three channels.

Everything is elementwise or a running sum in a fixed order, so equal inputs give equal bytes on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.float32]


def paper_colour(crop: NDArray) -> NDArray[np.float32]:
    """Median colour [3] of the crop's border (every pixel of it up to 128, else evenly spaced ones): the paper, where
    text does not touch the border."""
    border = np.concatenate([crop[0], crop[-1], crop[:, 0], crop[:, -1]])
    step = max(1, len(border) // 128)
    return np.sort(border[::step], axis=0)[len(border[::step]) // 2].astype(np.float32)


def coloured(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey image [H, W, 1] in three channels; one that has three is given back as it is."""
    if image.shape[2] == 3:
        return image
    made = np.empty((*image.shape[:2], 3), dtype=np.uint8)
    for channel in range(3):  # three plain copies: a broadcast takes four times as long
        made[:, :, channel] = image[:, :, 0]
    return made


def _padded(crop: Crop, before: int, after: int, axis: int) -> Crop:
    size = crop.shape[axis]
    return np.take(crop, np.clip(np.arange(-before, size + after), 0, size - 1), axis=axis)


def _convolve(crop: Crop, kernel: NDArray[np.float32], axis: int) -> Crop:
    radius, size = len(kernel) // 2, crop.shape[axis]
    padded = _padded(crop, radius, radius, axis)
    total, part = np.zeros_like(crop), np.empty_like(crop)
    for offset, weight in enumerate(kernel):
        shifted = padded[offset : offset + size] if axis == 0 else padded[:, offset : offset + size]
        total += np.multiply(shifted, weight, out=part)
    return total


def _box(crop: Crop, radius: int, axis: int) -> Crop:
    """Mean of 2 * radius + 1 neighbours along an axis, by a running sum."""
    size, width = crop.shape[axis], 2 * radius + 1
    sums = np.cumsum(_padded(crop, radius + 1, radius, axis), axis=axis, dtype=np.float32)
    gap = sums[width:] - sums[:size] if axis == 0 else sums[:, width:] - sums[:, :size]
    return gap * np.float32(1 / width)


def gaussian_blur(crop: Crop, sigma: float) -> Crop:
    """Gaussian blur with ``sigma`` in pixels: the separable kernel up to 2.5 px, three box passes above."""
    if sigma < 0.15:
        return crop
    if sigma <= 2.5:
        radius = max(1, math.ceil(2.5 * sigma))
        steps = np.arange(-radius, radius + 1)
        kernel = np.exp(-0.5 * (steps / sigma) ** 2)
        kernel = (kernel / kernel.sum()).astype(np.float32)
        return _convolve(_convolve(crop, kernel, 0), kernel, 1)
    radius = max(1, round((math.sqrt(4 * sigma * sigma + 1) - 1) / 2))  # three boxes of variance r(r+1)/3 each
    for _ in range(3):
        crop = _box(_box(crop, radius, 0), radius, 1)
    return crop


def down_up(crop: Crop, factor: float) -> Crop:
    """Lose detail: average cells of about ``factor`` pixels, then draw them as flat blocks of the original size."""
    height, width = crop.shape[:2]
    rows = np.linspace(0, height, max(1, round(height / factor)) + 1).astype(np.intp)
    columns = np.linspace(0, width, max(1, round(width / factor)) + 1).astype(np.intp)
    sums = np.add.reduceat(np.add.reduceat(crop, rows[:-1], axis=0), columns[:-1], axis=1)
    areas = (np.diff(rows)[:, None] * np.diff(columns)[None, :])[:, :, None].astype(np.float32)
    cells = sums / areas
    return np.repeat(np.repeat(cells, np.diff(rows), axis=0), np.diff(columns), axis=1)
