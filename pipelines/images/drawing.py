"""Pictures with text whose labels are exact: lines in varied fonts, colours and perspective on photographs or textures.

Each line is set on a transparent layer and warped by the homography that takes its box to a jittered quadrilateral; the
corners of that quadrilateral are the label. Lines lie in rows of their own, so no text covers another. Where ink and
background are too alike a plate is put behind the line.
"""

from __future__ import annotations

import functools
import io
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.images.fonts import faces
from pipelines.images.words import draw_word, sentence

if TYPE_CHECKING:
    from PIL import Image

Quad = tuple[tuple[float, float], ...]
CONTRAST = 80
"""Least distance of brightness (of 255) between ink and what is behind it."""
MARGIN = 6


@dataclass(frozen=True)
class Line:
    """A text and the corners of its box in pixels: left top, right top, right bottom, left bottom."""

    text: str
    quad: Quad


@dataclass(frozen=True)
class Drawing:
    """An RGB picture and its lines from top to bottom."""

    image: Image.Image
    lines: tuple[Line, ...]


def draw_lines(
    rng: np.random.Generator, split: str, background: Image.Image | None, size: tuple[int, int], most: int
) -> Drawing:
    """Up to ``most`` lines with words and fonts of ``split`` on ``background`` (cropped) or on a texture, ``size`` pixels
    (width, height). At least one line is drawn."""
    canvas = _crop(background, size, rng) if background is not None else texture(rng, size)
    wanted = int(rng.integers(1, most + 1))
    lines: list[Line] = []
    top = float(rng.integers(MARGIN, max(MARGIN + 1, size[1] // 6)))
    for number in range(wanted):
        text = draw_text(rng, split)
        layer = _set_line(rng, split, text, size[0] - 4 * MARGIN, size[1] // 4)
        if top + layer.height * 1.3 + MARGIN > size[1]:
            if number:
                break
            top = float(MARGIN)
        quad = _place(rng, layer.size, size, top)
        canvas = _composite(rng, canvas, layer, quad)
        lines.append(Line(text, quad))
        top = max(y for _, y in quad) + float(rng.integers(2, max(3, size[1] // 12)))
    return Drawing(canvas, tuple(lines))


def draw_text(rng: np.random.Generator, split: str) -> str:
    """A sentence, some words, a number or a label."""
    kind = rng.random()
    if kind < 0.35:
        return " ".join(sentence(rng, split).split()[: int(rng.integers(3, 8))])
    if kind < 0.65:
        return " ".join(draw_word(rng, split) for _ in range(int(rng.integers(1, 4)))).title()
    if kind < 0.8:
        return draw_word(rng, split).upper()
    if kind < 0.9:
        return f"{draw_word(rng, split).capitalize()}: {int(rng.integers(0, 100_000)):,}"
    return f"{rng.integers(1, 32):02d}.{rng.integers(1, 13):02d}.{rng.integers(1950, 2060)}"


def texture(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A made background: a gradient, stripes, blotches or paper, with grain."""
    from PIL import Image

    width, height = size
    two = rng.integers(0, 256, (2, 3)).astype(np.float32)
    kind = int(rng.integers(4))
    x, y = np.meshgrid(np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32))
    angle = rng.random() * np.pi
    along = np.cos(angle) * x + np.sin(angle) * y
    if kind == 0:
        blend = (along - along.min()) / max(1e-6, float(np.ptp(along)))
    elif kind == 1:
        blend = 0.5 + 0.5 * np.sin(along * float(rng.integers(8, 60)))
    elif kind == 2:
        coarse = (rng.random((6, 8)) * 255).astype(np.uint8)
        blend = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), np.float32) / 255
    else:
        two[1] = two[0] = 255 - two[0] / 6
        blend = np.zeros_like(x)
    picture = blend[..., None] * two[0] + (1 - blend[..., None]) * two[1]
    picture += rng.normal(0, float(rng.uniform(0, 10)), picture.shape[:2]).astype(np.float32)[..., None]
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


@functools.cache
def _font_data(face: str) -> bytes:
    sys.modules.setdefault("pymupdf.layout", None)  # type: ignore[arg-type]  # an add-on that loads onnxruntime
    import pymupdf

    return bytes(pymupdf.Font(face).buffer)


def _set_line(rng: np.random.Generator, split: str, text: str, widest: int, tallest: int) -> Image.Image:
    """Ink mask (mode L) of one line, cropped to its ink with a margin of 2 pixels, at most ``widest`` pixels wide."""
    from PIL import Image, ImageDraw, ImageFont

    choice = faces(split)
    data = _font_data(choice[int(rng.integers(len(choice)))])
    points = float(rng.integers(16, max(17, min(72, tallest))))
    font = ImageFont.truetype(io.BytesIO(data), points)
    left, top, right, bottom = font.getbbox(text)
    if right - left > widest:
        font = ImageFont.truetype(io.BytesIO(data), points * widest / (right - left))
        left, top, right, bottom = font.getbbox(text)
    mask = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4), 0)
    ImageDraw.Draw(mask).text((2 - left, 2 - top), text, fill=255, font=font)
    return mask


def _place(rng: np.random.Generator, box: tuple[int, int], size: tuple[int, int], top: float) -> Quad:
    """Corners for a box of ``box`` pixels below ``top``, jittered, inside the picture."""
    width, height = box
    room = max(0.0, size[0] - width - 2 * MARGIN)
    left = MARGIN + float(rng.random()) * room
    slant = float(rng.uniform(-0.12, 0.12)) * height
    corners = []
    for x, y in ((0, 0), (width, 0), (width, height), (0, height)):
        dx, dy = rng.uniform(-0.1, 0.1, 2) * height
        at_x = min(max(left + x + dx, 1.0), size[0] - 2.0)
        at_y = min(max(top + 0.15 * height + y + dy + slant * (x / width - 0.5) * 2, 1.0), size[1] - 2.0)
        corners.append((round(float(at_x), 2), round(float(at_y), 2)))
    return tuple(corners)


def _composite(rng: np.random.Generator, canvas: Image.Image, mask: Image.Image, quad: Quad) -> Image.Image:
    from PIL import Image, ImageDraw

    warped = mask.transform(
        canvas.size, Image.Transform.PERSPECTIVE, homography(quad, mask.size), Image.Resampling.BICUBIC
    )
    area = Image.new("L", canvas.size, 0)
    ImageDraw.Draw(area).polygon(list(quad), fill=255)
    inside = np.asarray(area) > 0
    behind = np.asarray(canvas.convert("L"), np.float32)[inside]
    ink = rng.integers(0, 256, 3)
    light = float(ink @ (0.299, 0.587, 0.114))
    if np.percentile(np.abs(behind - light), 10) < CONTRAST:
        ink = rng.integers(0, 60, 3) if behind.mean() > 127 else rng.integers(196, 256, 3)
        light = float(ink @ (0.299, 0.587, 0.114))
    if np.percentile(np.abs(behind - light), 10) < CONTRAST:  # a busy background: put a plate behind the line
        shade = int(rng.integers(200, 256)) if light < 127 else int(rng.integers(0, 56))
        canvas = Image.composite(Image.new("RGB", canvas.size, (shade,) * 3), canvas, area)
    return Image.composite(Image.new("RGB", canvas.size, tuple(int(v) for v in ink)), canvas, warped)


def homography(quad: Quad, size: tuple[int, int]) -> tuple[float, ...]:
    """Eight coefficients (a..h) that take a point of the picture back into a box of ``size``: x' = (ax + by + c) / (gx + hy
    + 1). ``quad`` are the box's corners in the picture."""
    width, height = size
    rows, values = [], []
    for (x, y), (u, v) in zip(quad, ((0, 0), (width, 0), (width, height), (0, height)), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solved: Any = np.linalg.solve(np.asarray(rows, float), np.asarray(values, float))
    return tuple(float(value) for value in solved)


def _crop(background: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A random part of ``size`` pixels, enlarged first where the picture is smaller."""
    from PIL import Image

    scale = max(1.0, size[0] / background.width, size[1] / background.height)
    if scale > 1:
        grown = (int(np.ceil(background.width * scale)), int(np.ceil(background.height * scale)))
        background = background.resize(grown, Image.Resampling.BICUBIC)
    left, top = (int(rng.integers(0, room + 1)) for room in (background.width - size[0], background.height - size[1]))
    return background.convert("RGB").crop((left, top, left + size[0], top + size[1]))
