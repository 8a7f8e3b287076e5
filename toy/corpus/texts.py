"""Text-only lines: sentences, and numbered lines in the form that the targets of document samples have."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.core.seeds import generator
from pipelines.images.words import draw_word, sentence

LINES = {"train": 400, "test": 60}


def write_texts(directory: Path, seed: int) -> list[dict]:
    """Write ``text/sentences-{split}.jsonl`` and ``text/lines-{split}.jsonl`` under ``directory``, rows ``{"text"}``.

    Returns one row a file for ``corpus.jsonl``: file, family ``text``, split. Words keep to their split."""
    folder = directory / "text"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, count in LINES.items():
        for name, draw in (("sentences", _sentences), ("lines", _numbered)):
            path = folder / f"{name}-{split}.jsonl"
            texts = (draw(generator("texts", seed, name, split, number), split) for number in range(count))
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
            rows.append({"file": f"text/{path.name}", "family": "text", "split": split})
    return rows


def _sentences(rng, split: str) -> str:
    return " ".join(sentence(rng, split) for _ in range(int(rng.integers(1, 4))))


def _numbered(rng, split: str) -> str:
    lines = []
    for number in range(1, int(rng.integers(1, 5)) + 1):
        words = " ".join(draw_word(rng, split) for _ in range(int(rng.integers(1, 3))))
        lines.append(f"{number}: {words}")
    return "\n".join(lines)
