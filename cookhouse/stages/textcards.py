"""Text cards: what a card would look like if the resampler were perfect, as token ids.

The chat layout of a reading sample with its 64 visual placeholders replaced by a 4x16 grid of byte tokens: each glyph in
the cell its centre falls into, blanks elsewhere. The decoder learns on them to walk the grid and spell out its lines.
Words, number pairs and splits are those of the sample corpus; plain sentences and sums keep it a language model.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from model.backbones.language import IGNORED, Example
from model.tokenizer import BYTE_SPECIALS
from pipelines.core.seeds import generator
from pipelines.corpus.cards import LARGEST_ADDEND, ROWS, Card, draw_card
from pipelines.corpus.words import pair_split, sentence

COLUMNS = 16
READ_PROMPT = "Read."
LONGEST_LINE = 15
NARROW = frozenset("ijlft1 ")
SPECIAL = {name: 256 + index for index, (name, _) in enumerate(BYTE_SPECIALS)}
BLANK = SPECIAL["<unk>"]


def fits(line: str) -> bool:
    return len(line) <= LONGEST_LINE


def grid_tokens(card: Card, rng: np.random.Generator) -> list[int]:
    """``[64]`` cells row-major. Glyphs advance as in a face of random width; two in one cell push the second on."""
    cells = np.full((ROWS, COLUMNS), BLANK)
    first = int(rng.integers(ROWS - len(card.lines) + 1))
    monospaced = rng.random() < 0.35
    pitch = rng.uniform(0.8, 0.98)
    x0 = rng.uniform(0.3, 1.1)
    for index, line in enumerate(card.lines):
        wrong = rng.random() < 0.12
        x, last = x0 + rng.uniform(0, 0.4), -1
        for place, character in enumerate(line):
            width = pitch * (0.6 if character in NARROW and not monospaced else rng.uniform(0.95, 1.1))
            column = max(int(x + width / 2), last + 1)
            x += width
            column = min(column, COLUMNS - (len(line) - place))  # leave room for the rest of the line
            last = max(column, last + 1)
            value = ord(character)
            if character == " ":
                value = BLANK if rng.random() < 0.5 else value
            elif wrong and rng.random() < 0.25:
                value = BLANK if rng.random() < 0.5 else int(rng.integers(97, 123))
            cells[first + index, last] = value
    return cells.flatten().tolist()


def reading(card: Card, rng: np.random.Generator) -> Example:
    """Ids and labels of one reading sample in mode ``none``, as ``Processor.encode`` lays it out."""
    answer = "\n".join(f"{number}: {line}" for number, line in enumerate(card.lines, 1))
    head = [SPECIAL["<|im_start|>"], *b"user\n", SPECIAL["<image>"], *grid_tokens(card, rng), SPECIAL["</image>"]]
    head += [*f"\n{READ_PROMPT}".encode(), SPECIAL["<|im_end|>"], *b"\n", SPECIAL["<|im_start|>"], *b"assistant\n"]
    body = [*answer.encode(), SPECIAL["<|im_end|>"]]
    return head + body, [IGNORED] * len(head) + body


def plain(rng: np.random.Generator, split: str) -> Example:
    """A sentence, or a line of sums; every token supervised."""
    if rng.random() < 0.5:
        text = sentence(rng, split)
    else:
        sums: list[str] = []
        while len(sums) < 5:
            a, b = (int(rng.integers(1, LARGEST_ADDEND + 1)) for _ in range(2))
            if pair_split(a, b) == split:
                sums.append(f"{a} + {b} = {a + b}")
        text = ", ".join(sums)
    ids = [*text.encode(), SPECIAL["<|endoftext|>"]]
    return ids, [IGNORED, *ids[1:]]


class TextCards:
    """A stream of examples; ``text_share`` of them are plain text."""

    def __init__(self, text_share: float) -> None:
        self.text_share = text_share

    def example(self, rng: np.random.Generator) -> Example:
        if rng.random() < self.text_share:
            return plain(rng, "train")
        return reading(draw_card(rng, "train", fits), rng)

    def held_out(self, count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Reading samples of test words, one a batch: ids and labels ``[1, T]``."""
        rng = generator("text cards", "test")
        for _ in range(count):
            ids, labels = reading(draw_card(rng, "test", fits), rng)
            yield torch.tensor([ids]), torch.tensor([labels])
