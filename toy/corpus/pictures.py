"""Pictures with captions: counted shapes, two shapes side by side, a coloured word. Captions of ``test`` never occur in
``train``: shapes are split by a hash of the caption, words by the rule of ``words``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.core.seeds import generator
from pipelines.images.words import TEST_SHARE, split_of
from toy.corpus.files import Row, row, write_lines
from toy.corpus.typeset import COLOURS, HEIGHT, WIDTH, drawn_word, paint, pick

PAPER = (246, 246, 244)
SHAPES = ("circle", "square", "triangle")
COUNTS = ("one", "two", "three", "four", "five")
SMOOTH = 4
PICTURES = 120


def write_pictures(directory: Path, seed: int) -> list[Row]:
    """Write ``images/picture-NNN.png|jpg`` and ``images/captions.jsonl`` under ``directory``; family ``image``."""
    folder = directory / "images"
    folder.mkdir(parents=True, exist_ok=True)
    rows, captions = [], []
    for number in range(PICTURES):
        rng = generator("pictures", seed, number)
        pixels, caption, split = (_counted, _pair, _word)[number % 3](rng)
        name = f"picture-{number:03d}.{'jpg' if number % 2 else 'png'}"
        options: dict[str, Any] = {"quality": 92, "subsampling": 0} if number % 2 else {"compress_level": 6}
        Image.fromarray(pixels).save(folder / name, **options)
        captions.append({"file": name, "caption": caption})
        rows.append(row(f"images/{name}", "image", split))
    write_lines(folder / "captions.jsonl", captions)
    return rows


def _counted(rng: np.random.Generator) -> tuple[np.ndarray, str, str]:
    count = int(rng.integers(1, len(COUNTS) + 1))
    colour, shape = pick(rng, tuple(COLOURS)), pick(rng, SHAPES)
    caption = f"{COUNTS[count - 1].capitalize()} {colour} {shape}{'s' if count > 1 else ''}."
    size = int(rng.integers(26, 37))
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    for place in range(count):
        x = (place + 0.5) * WIDTH / count
        y = HEIGHT / 2 + float(rng.uniform(-18, 18))
        mask = np.maximum(mask, _shape(shape, x, y, size))
    return paint(mask, COLOURS[colour], PAPER), caption, split_of("caption", caption)


def _pair(rng: np.random.Generator) -> tuple[np.ndarray, str, str]:
    left, right = pick(rng, SHAPES), pick(rng, SHAPES)
    first, second = pick(rng, tuple(COLOURS)), pick(rng, tuple(COLOURS))
    caption = f"A {first} {left} left of a {second} {right}."
    pixels = paint(_shape(left, WIDTH * 0.28, HEIGHT / 2, 56), COLOURS[first], PAPER)
    mask = _shape(right, WIDTH * 0.72, HEIGHT / 2, 56)
    ink = paint(mask, COLOURS[second], PAPER)
    caption = caption.replace("A orange", "An orange").replace(" a orange", " an orange")
    return np.where(mask[..., None] > 0, ink, pixels), caption, split_of("caption", caption)


def _word(rng: np.random.Generator) -> tuple[np.ndarray, str, str]:
    split = "test" if rng.random() < TEST_SHARE else "train"
    word, colour, mask = drawn_word(rng, split)
    return paint(mask, COLOURS[colour], PAPER), f"The word {word} in {colour}.", split


def _shape(shape: str, x: float, y: float, size: float) -> np.ndarray:
    """Smooth mask float32 [HEIGHT, WIDTH] of a shape of ``size`` pixels centred at (x, y)."""
    half = size / 2
    top, left = max(0, int(y - half)), max(0, int(x - half))
    rows, columns = min(HEIGHT, int(y + half) + 2) - top, min(WIDTH, int(x + half) + 2) - left
    down = ((np.arange(rows * SMOOTH) + 0.5) / SMOOTH + top - y)[:, None]
    across = ((np.arange(columns * SMOOTH) + 0.5) / SMOOTH + left - x)[None, :]
    if shape == "circle":
        inside = across**2 + down**2 <= half**2
    elif shape == "square":
        inside = (abs(across) <= 0.9 * half) & (abs(down) <= 0.9 * half)
    else:
        inside = (down <= 0.8 * half) & (down >= 2 * abs(across) - half)
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    fine = inside.astype(np.float32).reshape(rows, SMOOTH, columns, SMOOTH)
    mask[top : top + rows, left : left + columns] = fine.mean(axis=(1, 3))
    return mask
