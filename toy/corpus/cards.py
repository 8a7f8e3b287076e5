"""Cards: small single-slice PDF pages that a tiny model can read, and the questions about them.

A card is 224x112 pt, rendered at 72 dpi to 224x112 pixels: four rows of 28 pixels, glyphs about one 14-pixel patch wide.
There are four kinds: ``read`` (1-6 words on 1-4 lines), ``count`` (how many words), ``add`` (a sum of two numbers) and
``table`` (two or three names with a number each). Cards of one PDF share a font face and a split; words, number pairs
and font families of ``test`` never occur in ``train``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipelines.core.seeds import generator
from pipelines.images.fonts import faces
from pipelines.images.words import draw_word, split_of
from toy.corpus.files import Row, row, write_lines
from toy.corpus.typeset import HEIGHT, WIDTH, Document, Sheet, open_pdf, save_pdf, text_width

ROW = 28
ROWS = HEIGHT // ROW
LARGEST_ADDEND = 30
CARDS_PER_FILE = 50
KINDS = ("read", "count", "add", "table")
KIND_SHARES = (0.46, 0.12, 0.22, 0.20)
SPECIMEN = "hamburgefonstiv 0123"
GLYPH_ADVANCE = (11.5, 13.5)  # points: the mean advance a face is scaled to, within 20-26 pt
ORDINALS = ("first", "second", "third", "last")
Fits = Callable[[str], bool]
"""Whether a line fits the width of a card in the face at hand."""


@dataclass(frozen=True)
class Card:
    """What a card says and what may be asked about it. ``lines`` has one entry a used row, top to bottom; ``thought`` is
    the long-mode trace before the answer."""

    kind: str
    lines: tuple[str, ...]
    question: str
    answer: str
    thought: str


def pair_split(a: int, b: int) -> str:
    """Split of an unordered pair of numbers, so that sums asked in the test were never seen in training."""
    return split_of("pair", min(a, b), max(a, b))


def draw_pair(rng: np.random.Generator, split: str) -> tuple[int, int]:
    while True:
        a, b = (int(rng.integers(1, LARGEST_ADDEND + 1)) for _ in range(2))
        if pair_split(a, b) == split:
            return a, b


def draw_card(rng: np.random.Generator, split: str, fits: Fits, shares: Sequence[float] = KIND_SHARES) -> Card:
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


def _line(rng: np.random.Generator, split: str, fits: Fits, words: int) -> str:
    """A line of at most ``words`` words that fits; a word too wide for the face is drawn again."""
    line = ""
    while not line or not fits(line):
        line = draw_word(rng, split)
    for _ in range(words - 1):
        longer = f"{line} {draw_word(rng, split)}"
        if fits(longer):
            line = longer
    return line


def _lines(rng: np.random.Generator, split: str, fits: Fits) -> tuple[str, ...]:
    """1-4 lines with 1-6 words in total."""
    count = int(rng.integers(1, ROWS + 1))
    left, lines = 6, []
    for index in range(count):
        most = min(left - (count - 1 - index), 2 if count > 1 else 3)
        line = _line(rng, split, fits, int(rng.integers(1, most + 1)))
        left -= len(line.split())
        lines.append(line)
    return tuple(lines)


def _distinct(rng: np.random.Generator, split: str, n: int, fits: Fits) -> list[str]:
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
    """Measures of one font face: what fits on a card and where lines go."""

    def __init__(self, name: str) -> None:
        self.name = name
        advance = self.width(SPECIMEN, 1.0) / len(SPECIMEN)
        low, high = (min(max(target / advance, 20.0), 26.0) for target in GLYPH_ADVANCE)
        self.sizes: tuple[float, float] = (low, high)

    def width(self, line: str, size: float) -> float:
        return text_width(self.name, line, size)

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


def set_card(document: Document, face: Face, card: Card, rng: np.random.Generator) -> list[Placed]:
    """Add a card as a page. Returns where its lines stand, for supervision of glyphs."""
    paper, ink = 1.0 - 0.12 * rng.random(3), 0.4 * rng.random(3)
    sheet = Sheet(document, WIDTH, HEIGHT, tuple(ink))
    sheet.page.draw_rect(sheet.page.rect, color=None, fill=tuple(paper))
    placed = face.place(card, rng)
    for line in placed:
        sheet.line(line.x, line.baseline, line.line, line.size, face.name)
    sheet.finish()
    return placed


def write_cards(directory: Path, seed: int, train_cards: int, test_cards: int) -> list[Row]:
    """Write ``documents/cards-{split}-NNN.pdf`` and ``questions/cards.jsonl`` under ``directory``; family ``card``."""
    rows, questions = [], []
    for split, total in (("train", train_cards), ("test", test_cards)):
        for index, start in enumerate(range(0, total, CARDS_PER_FILE)):
            name = f"documents/cards-{split}-{index:03d}.pdf"
            rng = generator("cards", seed, split, index)
            choice = faces(split)
            face, document = Face(choice[index % len(choice)]), open_pdf()
            for page in range(min(CARDS_PER_FILE, total - start)):
                card = draw_card(rng, split, face.fits)
                set_card(document, face, card, rng)
                said = {key: value for key, value in asdict(card).items() if key != "lines"}
                questions.append({"file": name, "page": page, **said})
            save_pdf(document, directory / name)
            rows.append(row(name, "card", split))
    write_lines(directory / "questions" / "cards.jsonl", questions)
    return rows
