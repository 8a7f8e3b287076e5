"""The registry of damages. An operator takes a crop and a strength in [0, 1] and returns a crop of the same shape.

Strengths are relative to the height of the glyphs, so one setting means the same on a 12-pixel line and on a
headline. Adding an operator: write the function, name it in ``OPERATORS``, give it a row in ``RANGES`` and
raise ``OPERATOR_VERSION``, which is part of every seed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.corruption.arrays import Crop, down_up, gaussian_blur

OPERATOR_VERSION = 1
Level = Literal["low", "moderate", "high"]
LEVELS: tuple[Level, ...] = ("low", "moderate", "high")

Paper = NDArray[np.float32]
Operator = Callable[[Crop, Paper, float, float, np.random.Generator], Crop]
"""(crop [h, w, c] float32 0-255, paper colour [c], glyph height in pixels, strength 0-1, rng) -> crop."""

RANGES: dict[Level, dict[str, tuple[float, float]]] = {
    "low": {
        "noise": (0.04, 0.20),
        "blur": (0.06, 0.16),
        "fade": (0.15, 0.60),
        "jpeg": (0.10, 0.60),
        "speckle": (0.01, 0.06),
        "tint": (0.10, 0.50),
    },
    "moderate": {
        "noise": (0.55, 0.95),
        "blur": (0.50, 0.90),
        "resample": (0.55, 0.90),
        "speckle": (0.50, 0.90),
        "strokes": (0.40, 0.90),
        "lose": (0.40, 0.80),
        "jpeg": (0.85, 1.00),
    },
    "high": {"fill": (0.0, 0.0), "grey": (0.0, 1.0), "texture": (0.2, 1.0)},
}
"""Strength ranges an operator is drawn from at each level. ``high`` operators never look at the crop's pixels."""

COLOURED = ("tint",)
"""Operators that need three channels; the others do to each channel what they do to any and may be given one."""

COUNTS: dict[Level, tuple[int, int]] = {"low": (1, 2), "moderate": (2, 2), "high": (1, 1)}
"""How many different operators a region gets (smallest, largest)."""


def noise(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """Gaussian noise of standard deviation 100 * strength grey levels, equal in all channels."""
    grain = rng.standard_normal((*crop.shape[:2], 1), dtype=np.float32)
    return crop + grain * np.float32(100 * strength)


def speckle(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """Salt and pepper on 40 % * strength of the pixels."""
    draw = rng.random(crop.shape[:2], dtype=np.float32)
    share = np.float32(0.2 * strength)
    crop = np.where((draw < share)[:, :, None], np.float32(0), crop)
    return np.where((draw > 1 - share)[:, :, None], np.float32(255), crop)


def blur(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """Gaussian blur with sigma = 0.3 * strength glyph heights."""
    return gaussian_blur(crop, 0.3 * strength * glyph)


def resample(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """Down- and up-sampling; at strength 1 a glyph is three cells high."""
    return down_up(crop, 1 + strength * max(glyph / 3 - 1, 1))


def fade(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """Ink fades into the paper: contrast falls to 1 - 0.9 * strength."""
    return paper + (crop - paper) * np.float32(1 - 0.9 * strength)


def tint(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """A darker or lighter cast over the whole box, up to 60 grey levels a channel."""
    return crop + (60 * strength * rng.uniform(-1, 1, 3)).astype(np.float32)


def jpeg(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """JPEG blocks, quality from 60 down to 3. A grey crop loses what it would lose in three equal channels: these have
    the same brightness and no colour."""
    buffer = io.BytesIO()
    pixels = np.clip(crop, 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.save(buffer, "JPEG", quality=round(60 - 57 * strength), subsampling=2)
    return np.asarray(Image.open(buffer), dtype=np.float32).reshape(crop.shape)


def strokes(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """Pen strokes across the text: slanted lines of paper or ink colour, 0.08-0.2 glyph heights wide, about one per two
    glyphs at strength 1."""
    height, width = crop.shape[:2]
    count = 1 + int(strength * width / max(glyph, 1.0))
    centre = rng.uniform(0, (width, height), (count, 2))
    angle = rng.uniform(0, np.pi, count)
    half = np.maximum(0.6, rng.uniform(0.04, 0.1, count) * glyph)
    length = rng.uniform(0.6, 1.6, count) * glyph
    ink = np.where(paper > 127, np.float32(30), np.float32(225))
    crop = crop.copy()
    for k in range(count):
        x, y, reach = centre[k, 0], centre[k, 1], length[k] + half[k] + 1
        left, right = max(0, int(x - reach)), min(width, int(x + reach) + 1)
        top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 1)
        dx = (np.arange(left, right) - x)[None, :]
        dy = (np.arange(top, bottom) - y)[:, None]
        across, along = np.cos(angle[k]), np.sin(angle[k])
        near = (np.abs(dx * across + dy * along) < half[k]) & (np.abs(dy * across - dx * along) < length[k])
        crop[top:bottom, left:right][near] = paper if k % 2 else ink
    return crop


def lose(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """Ink lost in blotches of a third of a glyph: 50 % * strength of the cells become paper."""
    height, width = crop.shape[:2]
    cell = max(2.0, glyph / 3)
    grid = rng.random((int(height / cell) + 1, int(width / cell) + 1)) < 0.5 * strength
    rows = (np.arange(height) / cell).astype(np.intp)
    columns = (np.arange(width) / cell).astype(np.intp)
    return np.where(grid[rows][:, columns][:, :, None], paper, crop)


def fill(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """The colour of the paper all over."""
    return np.broadcast_to(paper, crop.shape).astype(np.float32)


def grey(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """One grey all over, from 90 to 200."""
    return np.full(crop.shape, 90 + 110 * strength, dtype=np.float32)


def texture(crop: Crop, paper: Paper, glyph: float, strength: float, rng: np.random.Generator) -> Crop:
    """Noise around the colour of the paper."""
    return noise(fill(crop, paper, glyph, 0.0, rng), paper, glyph, 0.5 * strength, rng)


OPERATORS: dict[str, Operator] = {
    function.__name__: function
    for function in (noise, speckle, blur, resample, fade, tint, jpeg, strokes, lose, fill, grey, texture)
}
