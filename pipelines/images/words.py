"""Words to set: a short English list plus pronounceable made-up words, split by hash.

A word belongs to ``train`` or ``test`` by a hash of its letters alone (12 % test), so no module needs a list to keep the
two apart.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.core.seeds import unit_interval

TEST_SHARE = 0.12

ENGLISH = tuple(Path(__file__).with_name("english.txt").read_text(encoding="utf-8").split())
_ONSETS = tuple("b c d f g h j k l m n p r s t v w z br cl dr fl gr pl pr sh sk sl sn st th tr ch qu".split())
_VOWELS = tuple("a e i o u a e i o ai ea ou oo".split())
_CODAS = ("", "", "", "n", "r", "l", "m", "s", "t", "d", "k", "x", "nd", "rk", "st", "ng", "y", "p")


def split_of(*names: str | int) -> str:
    """``train`` or ``test``, a pure function of the names."""
    return "test" if unit_interval(*names) < TEST_SHARE else "train"


def word_split(word: str) -> str:
    """The split a word belongs to."""
    return split_of("word", word)


def made_up(rng: np.random.Generator) -> str:
    """A pronounceable word of one to three syllables, 2 to 9 letters."""
    while True:
        count = int(rng.integers(1, 4))
        parts = [
            _ONSETS[int(rng.integers(len(_ONSETS)))] + _VOWELS[int(rng.integers(len(_VOWELS)))] for _ in range(count)
        ]
        word = "".join(parts) + _CODAS[int(rng.integers(len(_CODAS)))]
        if 2 <= len(word) <= 9:
            return word


def draw_word(rng: np.random.Generator, split: str) -> str:
    """One word of the split: English one time in four, else made up."""
    while True:
        word = ENGLISH[int(rng.integers(len(ENGLISH)))] if rng.random() < 0.25 else made_up(rng)
        if word_split(word) == split:
            return word


def sentence(rng: np.random.Generator, split: str) -> str:
    """5 to 12 words, a capital and a full stop."""
    text = " ".join(draw_word(rng, split) for _ in range(int(rng.integers(5, 13))))
    return text[0].upper() + text[1:] + "."
