"""Glyph sheets: rendered cards with, for every 14-pixel patch, the characters whose centres fall into its column.

This is the supervision of the tiny vision tower (``recipe=backbones``): dense labels per patch teach letters orders of
magnitude faster than captions would. Half of the sheets are filled with random strings so that the tower learns shapes
and not words; the rest are ordinary cards of the split.
"""

from __future__ import annotations

import numpy as np

from pipelines.core.seeds import generator
from pipelines.images.fonts import faces
from toy.corpus.cards import HEIGHT, ROW, ROWS, WIDTH, Card, Face, Placed, draw_card, set_card
from toy.corpus.typeset import open_pdf, pixels

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789+ "
PATCH = 14
SLOTS = 3  # narrow glyphs: up to three centres fall into one patch
CLASSES = len(ALPHABET) + 1  # 0 = no glyph


def random_sheet(rng: np.random.Generator, face: Face) -> Card:
    """Four full lines of random strings of 1-8 characters."""
    lines = []
    for _ in range(ROWS):
        line = ""
        while True:
            size = int(rng.integers(1, 9))
            pool = ALPHABET[26:37] if rng.random() < 0.25 else ALPHABET[:26]
            word = "".join(pool[int(i)] for i in rng.integers(len(pool), size=size))
            longer = f"{line} {word}".strip()
            if not face.fits(longer):
                break
            line = longer
        lines.append(line or word[:4])
    return Card("read", tuple(lines), "", "", "")


def patch_labels(placed: list[Placed], face: Face) -> np.ndarray:
    """``[rows, cols, SLOTS]`` uint8 classes of one card.

    A glyph labels both patch rows of its text row, in the column of its centre, in reading order. Spaces between words
    count as glyphs.
    """
    labels = np.zeros((HEIGHT // PATCH, WIDTH // PATCH, SLOTS), np.uint8)
    for line in placed:
        x = line.x
        row = min(max(int((line.baseline - 6) // ROW), 0), ROWS - 1)
        used = np.zeros(WIDTH // PATCH, np.int64)
        for character in line.line:
            width = face.width(character, line.size)
            column = min(int((x + width / 2) // PATCH), WIDTH // PATCH - 1)
            x += width
            if used[column] < SLOTS:
                labels[2 * row : 2 * row + 2, column, used[column]] = ALPHABET.index(character) + 1
                used[column] += 1
    return labels


def glyph_sheets(split: str, seed: int, index: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Block ``index`` of sheets in one face: images ``[count, 112, 224, 3]`` uint8 and labels ``[count, 8, 16, 3]``."""
    rng = generator("glyphs", seed, split, index)
    choice = faces(split)
    face = Face(choice[index % len(choice)])
    labels = []
    with open_pdf() as document:
        for _ in range(count):
            card = random_sheet(rng, face) if rng.random() < 0.5 else draw_card(rng, split, face.fits)
            labels.append(patch_labels(set_card(document, face, card, rng), face))
        return np.stack([pixels(page) for page in document]), np.stack(labels)
