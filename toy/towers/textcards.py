"""Text cards: what a card would look like if the resampler were perfect, as token ids.

Samples of blank pictures whose 64 visual positions hold a 4x16 grid of byte tokens: each glyph in the cell its centre
falls into (up to three share one), blanks elsewhere. The decoder learns on them to walk the grid, to spell out its lines
and to answer the corpus's questions about them, briefly or after a thought. Words, number pairs, faces and splits are
those of the sample corpus; plain sentences and sums keep it a language model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from PIL import Image

from model.pack import IGNORE, Encoded
from model.processor import Processor
from model.tokenizer import BYTE_SPECIALS
from pipelines.core.seeds import generator
from pipelines.images.fonts import faces
from pipelines.images.words import sentence
from pipelines.shards.sample import image_content, text_content, turn
from toy.corpus.cards import KIND_SHARES, KINDS, Card, Face, draw_card, draw_pair
from toy.corpus.typeset import HEIGHT, WIDTH, pick
from toy.towers.glyphs import ALPHABET, SLOTS, patch_labels
from toy.towers.language import NOTHING, Example

READ_PROMPT = "Read."
TEXT_SHARE = 0.15
Form = Literal["read", "short", "long"]
FORMS: tuple[Form, ...] = ("read", "short", "long")
SPECIAL = {name: 256 + index for index, (name, _) in enumerate(BYTE_SPECIALS)}
BLANK = SPECIAL["<unk>"]
GLYPH_TOKENS = np.array([NOTHING, *(BLANK if character == " " else ord(character) for character in ALPHABET)])
"""Token of each glyph class of ``toy.towers.glyphs``; a space looks like paper, so it is a blank."""


def patch_tokens(labels: torch.Tensor) -> torch.Tensor:
    """``[N, SLOTS]`` tokens of patches from the classes of their slots ``[N * SLOTS]``; paper is a blank."""
    tokens = torch.from_numpy(GLYPH_TOKENS)[labels.view(-1, SLOTS)]
    tokens[tokens[:, 0] == NOTHING, 0] = BLANK
    return tokens


face_of = lru_cache(maxsize=32)(Face)


def draw(rng: np.random.Generator, split: str, kinds: Sequence[float] = KIND_SHARES) -> tuple[Card, Face]:
    """A card of the split in one of its faces, of a kind drawn by ``kinds``."""
    face = face_of(pick(rng, faces(split)))
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


def plain(rng: np.random.Generator, split: str) -> Encoded:
    """A sentence, or a line of five sums; of sums only what comes after an equals sign is supervised, as the numbers before
    it cannot be foreseen."""
    if rng.random() < 0.5:
        parts = [(sentence(rng, split), True)]
    else:
        pairs = [draw_pair(rng, split) for _ in range(5)]
        parts = [part for a, b in pairs for part in ((f"{a} + {b} =", False), (f" {a + b}", True), (", ", False))][:-1]
    ids = torch.tensor([*"".join(text for text, _ in parts).encode(), SPECIAL["<|endoftext|>"]])
    kept = torch.tensor([*(kept for text, kept in parts for _ in text), True])
    return Encoded(ids, torch.where(kept, ids, IGNORE))


@dataclass(frozen=True)
class TextCards:
    """A stream of examples: some plain text, ``question_share`` questions about cards, half of them with a thought, all
    kinds equally often; the rest read all lines of a card."""

    processor: Processor
    question_share: float

    def example(self, rng: np.random.Generator) -> Example:
        kind = rng.random()
        if kind < TEXT_SHARE:
            return plain(rng, "train"), np.zeros((0, SLOTS), np.int64)
        asks = kind < TEXT_SHARE + self.question_share
        return self.drawn(rng, "train", FORMS[1 + int(rng.integers(2))] if asks else "read")

    def held_out(self, form: Form, count: int) -> Iterator[Example]:
        """Samples of test words in test faces."""
        rng = generator("text cards", "test", form)
        for _ in range(count):
            yield self.drawn(rng, "test", form)

    def drawn(self, rng: np.random.Generator, split: str, form: Form) -> Example:
        card, face = draw(rng, split, KIND_SHARES if form == "read" else [1 / len(KINDS)] * len(KINDS))
        return self.sample(card, form), grid_tokens(card, face, rng)

    def sample(self, card: Card, form: Form) -> Encoded:
        """The lines in mode ``none``, or the card's own question; of a blank picture."""
        lines = "\n".join(f"{number}: {line}" for number, line in enumerate(card.lines, 1))
        prompt, answer = (READ_PROMPT, lines) if form == "read" else (card.question, card.answer)
        messages = turn([image_content(), text_content(prompt)], answer, card.thought if form == "long" else None)
        blank = Image.new("RGB", (WIDTH, HEIGHT))
        return self.processor.encode(messages, {"jpg": blank}, mode="none" if form == "read" else form)
