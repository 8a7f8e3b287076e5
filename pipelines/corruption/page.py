"""Damage the regions of one page. Pixels outside the boxes are never touched; each region has a stream of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.corruption.arrays import coloured, paper_colour
from pipelines.corruption.operators import COLOURED, COUNTS, OPERATORS, RANGES, Level

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Region:
    """A text box: ``bbox`` = (x0, y0, x1, y1) in pixels, half open; ``glyph_height`` in pixels (about the height of
    the line's ink); ``level`` says how much of the text may survive."""

    bbox: tuple[int, int, int, int]
    level: Level
    glyph_height: float


def corrupt_page(
    image: Image, regions: Sequence[Region], rng: np.random.Generator
) -> tuple[Image, list[dict[str, Any]]]:
    """A copy of ``image`` [H, W, 3] uint8 with every region damaged at its level (``damage``), and the records. A grey
    image [H, W, 1] stays one unless a damage has colours, and gets the damage that it would get in three channels."""
    crops, records = damage(image, regions, rng)
    grey = all(crop.shape[2] == 1 for crop in crops) and image.shape[2] == 1
    page = image.copy() if grey or image.shape[2] == 3 else coloured(image)
    for region, crop in zip(regions, crops, strict=True):
        x0, y0, x1, y1 = region.bbox
        page[y0:y1, x0:x1] = crop
    return page, records


def damage(
    image: Image, regions: Sequence[Region], rng: np.random.Generator
) -> tuple[list[Image], list[dict[str, Any]]]:
    """The damaged pixels of every region of ``image`` [H, W, C], in its channels or (colours on a grey image) in three,
    and one record per region: ``{"level", "operators": [{"name", "strength"}]}``.

    Draws of one region do not depend on how much another consumed. A high region's pixels are a function of the colour
    of its border and of the draws alone: none of its ink remains. Raises ValueError for a box outside the image.
    """
    height, width = image.shape[:2]
    seeds = rng.integers(0, 2**63, size=len(regions))
    crops, records = [], []
    for region, seed in zip(regions, seeds, strict=True):
        x0, y0, x1, y1 = region.bbox
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"region {region.bbox} does not lie in an image of {width} x {height} pixels")
        own = np.random.Generator(np.random.PCG64(int(seed)))
        crop, record = corrupt_crop(image[y0:y1, x0:x1], region.level, region.glyph_height, own)
        crops.append(crop)
        records.append(record)
    return crops, records


def corrupt_crop(
    crop: Image, level: Level, glyph_height: float, rng: np.random.Generator
) -> tuple[Image, dict[str, Any]]:
    """One damaged box and its record; see ``corrupt_page``."""
    ranges = RANGES[level]
    names = list(ranges)
    least, most = COUNTS[level]
    count = least if least == most else int(rng.integers(least, most + 1))
    chosen = rng.permutation(len(names))[:count]
    paper = paper_colour(crop)
    # Where all is grey one channel is worked on and laid out three times at the end: the same values for a third.
    grey = all(bool((crop[:, :, 0] == crop[:, :, channel]).all()) for channel in range(1, crop.shape[2]))
    pixels = crop[:, :, : 1 if grey else 3].astype(np.float32)
    applied = []
    for index in sorted(int(i) for i in chosen):
        name = names[index]
        strength = float(rng.uniform(*ranges[name]))
        if name in COLOURED and pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        pixels = OPERATORS[name](pixels, paper[: pixels.shape[2]], glyph_height, strength, rng)
        applied.append({"name": name, "strength": round(strength, 4)})
    damaged = np.empty((*crop.shape[:2], max(crop.shape[2], pixels.shape[2])), dtype=np.uint8)
    np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels)
    damaged[:] = pixels.astype(np.uint8)
    return damaged, {"level": level, "operators": applied}
