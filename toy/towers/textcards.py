"""Text cards: what a card would look like if the resampler were perfect, as token ids.

The chat layout of a sample with its 64 visual placeholders replaced by a 4x16 grid of byte tokens: each glyph in the
cell its centre falls into (up to three share one), blanks elsewhere. The decoder learns on them to walk the grid, to
spell out its lines and to answer the corpus's questions about them, briefly or after a thought. Words, number pairs,
faces and splits are those of the sample corpus; plain sentences and sums keep it a language model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from model.chat import render
from model.tokenizer import BYTE_SPECIALS
from pipelines.core.seeds import generator
from pipelines.images.fonts import faces
from pipelines.images.words import sentence
from pipelines.shards.sample import image_content, text_content, turn
from toy.corpus.cards import KIND_SHARES, KINDS, Card, Face, draw_card, draw_pair
from toy.towers.glyphs import ALPHABET, SLOTS, patch_labels
from toy.towers.language import IGNORED, NOTHING, Example

READ_PROMPT = "Read."
Supervise = Literal["all", "results"]
Form = Literal["read", "short", "long"]
FORMS: tuple[Form, ...] = ("read", "short", "long")
SPECIAL = {name: 256 + index for index, (name, _) in enumerate(BYTE_SPECIALS)}
BLANK = SPECIAL["<unk>"]
GLYPH_TOKENS = np.array([NOTHING, *(BLANK if character == " " else ord(character) for character in ALPHABET)])
"""Token of each glyph class of ``toy.towers.glyphs``; a space looks like paper, so it is a blank."""


@lru_cache(maxsize=32)
def _face(name: str) -> Face:
    return Face(name)


def draw(rng: np.random.Generator, split: str, kinds: Sequence[float] = KIND_SHARES) -> tuple[Card, Face]:
    """A card of the split in one of its faces, of a kind drawn by ``kinds``."""
    choice = faces(split)
    face = _face(choice[int(rng.integers(len(choice)))])
    return draw_card(rng, split, face.fits, kinds), face


def grid_tokens(card: Card, face: Face, rng: np.random.Generator) -> np.ndarray:
    """``[64, SLOTS]`` token ids row-major, laid out as the card would be set. Up to a third of the glyphs are misread,
    usually far fewer: another letter, nothing, or another letter beside the true one."""
    cells = GLYPH_TOKENS[patch_labels(face.place(card, rng), face)[::2].reshape(-1, SLOTS)]
    severity = 0.33 * rng.random() ** 3
    for cell in np.flatnonzero((cells[:, 0] != NOTHING) & (rng.random(len(cells)) < severity)):
        used = int((cells[cell] != NOTHING).sum())
        wrong = ord(ALPHABET[int(rng.integers(26))])
        what = rng.random()
        if what < 0.35:
            cells[cell, int(rng.integers(used))] = wrong
        elif what < 0.6 and used > 1:
            cells[cell, used - 1] = NOTHING
        elif used < SLOTS:
            cells[cell, used] = wrong
    cells[cells[:, 0] == NOTHING, 0] = BLANK
    return cells


def card_example(card: Card, grid: np.ndarray, form: Form) -> Example:
    """One sample as ``Processor.encode`` lays it out: the lines in mode ``none``, or the card's own question."""
    if form == "read":
        answer = "\n".join(f"{number}: {line}" for number, line in enumerate(card.lines, 1))
        messages = turn([image_content(), text_content(READ_PROMPT)], answer, None)
    else:
        messages = turn(
            [image_content(), text_content(card.question)], card.answer, card.thought if form == "long" else None
        )
    ids: list[np.ndarray] = []
    labels: list[int] = []
    for piece in render(messages, "none" if form == "read" else form):
        if piece.kind == "visual":
            part = np.concatenate([_plain([SPECIAL["<image>"]]), grid, _plain([SPECIAL["</image>"]])])
        else:
            part = _plain([SPECIAL[piece.text]] if piece.kind == "control" else list(piece.text.encode()))
        ids.append(part)
        labels += part[:, 0].tolist() if piece.supervised else [IGNORED] * len(part)
    return np.concatenate(ids), np.array(labels)


def _plain(tokens: list[int]) -> np.ndarray:
    """``[n, SLOTS]`` with one token a position."""
    ids = np.full((len(tokens), SLOTS), NOTHING)
    ids[:, 0] = tokens
    return ids


def plain(rng: np.random.Generator, split: str, supervise: Supervise) -> Example:
    """A sentence, or a line of five sums; of sums ``results`` supervises only what comes after an equals sign, as the
    numbers before it cannot be foreseen."""
    if rng.random() < 0.5:
        ids = [*sentence(rng, split).encode(), SPECIAL["<|endoftext|>"]]
        return _plain(ids), np.array([IGNORED, *ids[1:]])
    ids, labels = [], []
    for index in range(5):
        a, b = draw_pair(rng, split)
        asked, answer = f"{', ' if index else ''}{a} + {b} =".encode(), f" {a + b}".encode()
        ids += [*asked, *answer]
        labels += [*(asked if supervise == "all" else [IGNORED] * len(asked)), *answer]
    ids.append(SPECIAL["<|endoftext|>"])
    return _plain(ids), np.array([IGNORED, *labels[1:], ids[-1]])


class TextCards:
    """A stream of examples: ``text_share`` of them plain text, ``question_share`` questions about cards, half of them
    with a thought, all kinds equally often; the rest read all lines of a card."""

    def __init__(self, text_share: float, question_share: float, supervise: Supervise = "all") -> None:
        self.text_share, self.question_share, self.supervise = text_share, question_share, supervise

    def example(self, rng: np.random.Generator) -> Example:
        kind = rng.random()
        if kind < self.text_share:
            return plain(rng, "train", self.supervise)
        asks = kind < self.text_share + self.question_share
        form: Form = ("long" if rng.random() < 0.5 else "short") if asks else "read"
        return self._drawn(rng, "train", form)

    def held_out(self, form: Form, count: int) -> Iterator[Example]:
        """Samples of test words in test faces."""
        rng = generator("text cards", "test", form)
        for _ in range(count):
            yield self._drawn(rng, "test", form)

    @staticmethod
    def _drawn(rng: np.random.Generator, split: str, form: Form) -> Example:
        card, face = draw(rng, split, KIND_SHARES if form == "read" else [1 / len(KINDS)] * len(KINDS))
        return card_example(card, grid_tokens(card, face, rng), form)
