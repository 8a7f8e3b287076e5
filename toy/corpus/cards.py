"""Cards: small single-slice PDF pages that a tiny model can read, and the questions about them.

A card is 224x112 pt, rendered at 72 dpi to 224x112 pixels: four rows of 28 pixels, glyphs about one 14-pixel patch wide.
There are four kinds: ``read`` (1-6 words on 1-4 lines), ``count`` (how many words), ``add`` (a sum of two numbers) and
``table`` (two or three names with a number each). Cards of one PDF share a font face and a split; words, number pairs
and font families of ``test`` never occur in ``train``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.seeds import generator
from pipelines.images.fonts import faces
from pipelines.images.words import draw_pair, draw_word

WIDTH, HEIGHT, ROW = 224, 112, 28
ROWS = HEIGHT // ROW
CARDS_PER_FILE = 50
KINDS = ("read", "count", "add", "table")
KIND_SHARES = (0.46, 0.12, 0.22, 0.20)
SPECIMEN = "hamburgefonstiv 0123"
GLYPH_ADVANCE = (11.5, 13.5)  # points: the mean advance a face is scaled to, within 20-26 pt
ORDINALS = ("first", "second", "third", "last")


@dataclass(frozen=True)
class Card:
    """What a card says and what may be asked about it. ``lines`` has one entry a used row, top to bottom; ``thought`` is
    the long-mode trace before the answer."""

    kind: str
    lines: tuple[str, ...]
    question: str
    answer: str
    thought: str


def draw_card(rng: np.random.Generator, split: str, fits, shares: Sequence[float] = KIND_SHARES) -> Card:
    """One card of the split, of a kind drawn by ``shares``. ``fits(line) -> bool`` says whether a line fits the width in
    the face at hand."""
    kind = KINDS[int(rng.choice(len(KINDS), p=shares))]
    if kind == "add":
        a, b = draw_pair(rng, split)
        title = (_line(rng, split, fits, 1),) if rng.random() < 0.5 else ()
        return Card(kind, (*title, f"{a} + {b}"), "What is the sum?", str(a + b), f"{a} + {b} = {a + b}")
    if kind == "table":
        names = _distinct(rng, split, int(rng.integers(2, 4)), lambda name: fits(name + " 88"))
        values = [int(rng.integers(1, 100)) for _ in names]
        row = int(rng.integers(len(names)))
        lines = tuple(f"{name} {value}" for name, value in zip(names, values, strict=True))
        return Card(kind, lines, f"What is {names[row]}?", str(values[row]), ", ".join(lines))
    lines = _lines(rng, split, fits)
    if kind == "count":
        total = sum(len(line.split()) for line in lines)
        steps = " + ".join(str(len(line.split())) for line in lines)
        thought = f"{steps} = {total}" if len(lines) > 1 else f"{total} on one line"
        return Card(kind, lines, "How many words?", str(total), thought)
    row = int(rng.integers(len(lines)))
    name = "last" if row == len(lines) - 1 and row > 0 else ORDINALS[row]
    thought = ", ".join(f"{number}: {line}" for number, line in enumerate(lines, 1))
    return Card(kind, lines, f"Read the {name} line.", lines[row], thought)


def _line(rng: np.random.Generator, split: str, fits, words: int) -> str:
    """A line of at most ``words`` words that fits; a word too wide for the face is drawn again."""
    line = ""
    while not line or not fits(line):
        line = draw_word(rng, split)
    for _ in range(words - 1):
        longer = f"{line} {draw_word(rng, split)}"
        if fits(longer):
            line = longer
    return line


def _lines(rng: np.random.Generator, split: str, fits) -> tuple[str, ...]:
    """1-4 lines with 1-6 words in total."""
    count = int(rng.integers(1, ROWS + 1))
    left, lines = 6, []
    for index in range(count):
        most = min(left - (count - 1 - index), 2 if count > 1 else 3)
        line = _line(rng, split, fits, int(rng.integers(1, most + 1)))
        left -= len(line.split())
        lines.append(line)
    return tuple(lines)


def _distinct(rng: np.random.Generator, split: str, n: int, fits) -> list[str]:
    names: list[str] = []
    while len(names) < n:
        word = draw_word(rng, split)
        if word not in names and fits(word):
            names.append(word)
    return names


@dataclass(frozen=True)
class Placed:
    """Where a line stands on a card, in points: left end, baseline, font size."""

    line: str
    x: float
    baseline: float
    size: float


class Face:
    """Measures of one font face: what fits on a card and where lines go. Draws nothing. PyMuPDF is imported here."""

    def __init__(self, name: str) -> None:
        import pymupdf

        self.font = pymupdf.Font(name)
        advance = self.width(SPECIMEN, 1.0) / len(SPECIMEN)
        low, high = (min(max(target / advance, 20.0), 26.0) for target in GLYPH_ADVANCE)
        self.sizes: tuple[float, float] = (low, high)

    def width(self, line: str, size: float) -> float:
        """Points the line takes."""
        return self.font.text_length(line, fontsize=size)

    def fits(self, line: str) -> bool:
        return self.width(line, self.sizes[1]) <= WIDTH - 14

    def place(self, card: Card, rng: np.random.Generator) -> list[Placed]:
        """Lines on consecutive rows from a random one on, a little uneven."""
        size = float(rng.uniform(*self.sizes))
        first = int(rng.integers(ROWS - len(card.lines) + 1))
        x0 = float(rng.uniform(4, 10))
        placed = []
        for index, line in enumerate(card.lines):
            room = WIDTH - 4 - self.width(line, size)
            x = min(x0 + float(rng.uniform(0, 6)), room)
            baseline = ROW * (first + index) + 20 + float(rng.uniform(-1.5, 1.5))
            placed.append(Placed(line, x, baseline, size))
        return placed


class Typesetter:
    """Sets cards as pages of one PDF in one font face."""

    def __init__(self, face: str) -> None:
        import pymupdf

        self.pymupdf, self.face = pymupdf, Face(face)
        self.document = pymupdf.open()

    def set(self, card: Card, rng: np.random.Generator) -> list[Placed]:
        """Add one page. Returns where its lines stand, for supervision of glyphs."""
        page = self.document.new_page(width=WIDTH, height=HEIGHT)
        paper = 1.0 - 0.12 * rng.random(3)
        page.draw_rect(page.rect, color=None, fill=tuple(paper))
        ink = tuple(0.4 * rng.random(3))
        writer = self.pymupdf.TextWriter(page.rect, color=ink)
        placed = self.face.place(card, rng)
        for line in placed:
            writer.append((line.x, line.baseline), line.line, font=self.face.font, fontsize=line.size)
        writer.write_text(page)
        return placed


def save_pdf(document: Any, path: Path) -> None:
    """Write and close a PyMuPDF document, byte-identical for equal pages: no random ids, no dates, fonts cut to the glyphs
    in use."""
    document.set_metadata({"title": path.stem, "producer": "cookhouse", "creator": "cookhouse"})
    document.subset_fonts()
    document.save(path, garbage=3, deflate=True, no_new_id=True)
    document.close()


def write_cards(directory: Path, seed: int, train_cards: int, test_cards: int) -> list[dict]:
    """Write ``documents/cards-{split}-NNN.pdf`` and ``questions/cards.jsonl`` under ``directory``.

    Returns one row a file for ``corpus.jsonl``: file, family ``card``, split.
    """
    (directory / "documents").mkdir(parents=True, exist_ok=True)
    (directory / "questions").mkdir(parents=True, exist_ok=True)
    rows, questions = [], []
    for split, total in (("train", train_cards), ("test", test_cards)):
        for index, start in enumerate(range(0, total, CARDS_PER_FILE)):
            name = f"documents/cards-{split}-{index:03d}.pdf"
            rng = generator("cards", seed, split, index)
            choice = faces(split)
            setter = Typesetter(choice[index % len(choice)])
            for page in range(min(CARDS_PER_FILE, total - start)):
                card = draw_card(rng, split, setter.face.fits)
                setter.set(card, rng)
                questions.append(
                    {
                        "file": name,
                        "page": page,
                        "kind": card.kind,
                        "question": card.question,
                        "answer": card.answer,
                        "thought": card.thought,
                    }
                )
            save_pdf(setter.document, directory / name)
            rows.append({"file": name, "family": "card", "split": split})
    with (directory / "questions" / "cards.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in questions)
    return rows
