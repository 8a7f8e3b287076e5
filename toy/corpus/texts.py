"""Text-only lines: sentences, and numbered lines in the form that the targets of document samples have."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.core.seeds import generator
from pipelines.images.words import draw_word, sentence
from toy.corpus.files import Row, row, write_lines

LINES = {"train": 400, "test": 60}


def write_texts(directory: Path, seed: int) -> list[Row]:
    """Write ``text/{sentences,lines}-{split}.jsonl`` under ``directory``, rows ``{"text"}``; family ``text``."""
    rows = []
    for split, count in LINES.items():
        for name, draw in (("sentences", _sentences), ("lines", _numbered)):
            texts = (draw(generator("texts", seed, name, split, number), split) for number in range(count))
            rows.append(row(f"text/{name}-{split}.jsonl", "text", split))
            write_lines(directory / rows[-1]["file"], ({"text": text} for text in texts))
    return rows


def _sentences(rng: np.random.Generator, split: str) -> str:
    return " ".join(sentence(rng, split) for _ in range(int(rng.integers(1, 4))))


def _numbered(rng: np.random.Generator, split: str) -> str:
    lines = []
    for number in range(1, int(rng.integers(1, 5)) + 1):
        words = " ".join(draw_word(rng, split) for _ in range(int(rng.integers(1, 3))))
        lines.append(f"{number}: {words}")
    return "\n".join(lines)
