"""A seeded mutator of PDFs: truncation, flipped bytes, swapped and doubled blocks, numbers made huge, names broken. The
same (seed, number) gives the same bytes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(0, len(data) + 1))]


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(0, len(data), size=max(1, len(data) // 500)):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _swap(data: bytes, rng: np.random.Generator) -> bytes:
    a, b, c = sorted(int(at) for at in rng.integers(0, len(data) + 1, size=3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _double(data: bytes, rng: np.random.Generator) -> bytes:
    a, b = sorted(int(at) for at in rng.integers(0, len(data) + 1, size=2))
    return data[:b] + data[a:b] * 3 + data[b:]


def _numbers(data: bytes, rng: np.random.Generator) -> bytes:
    """Some numbers outside streams become extreme: lengths, counts, boxes, object references."""
    wild = [b"0", b"-1", b"999999999999", b"2147483648", b"1e38", b"NaN"]

    def change(match: re.Match[bytes]) -> bytes:
        return wild[int(rng.integers(len(wild)))] if rng.random() < 0.05 else match.group()

    return re.sub(rb"(?<=[ \[/])\d+(?=[ \]\n/>])", change, data)


def _names(data: bytes, rng: np.random.Generator) -> bytes:
    """Some names become others: a page a font, a catalogue a page."""
    known = [b"/Page", b"/Pages", b"/Font", b"/Length", b"/Filter", b"/Kids", b"/Type", b"/Contents", b"/FlateDecode"]

    def change(match: re.Match[bytes]) -> bytes:
        return known[int(rng.integers(len(known)))] if rng.random() < 0.1 else match.group()

    return re.sub(rb"/[A-Z][A-Za-z]+", change, data)


MUTATIONS: tuple[Mutation, ...] = (_cut, _flip, _swap, _double, _numbers, _names)


def mutate(originals: Sequence[bytes], seed: int, number: int) -> bytes:
    """File ``number`` of a fuzz run: one of ``originals`` with one to three mutations."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))
    data = originals[int(rng.integers(len(originals)))]
    for _ in range(int(rng.integers(1, 4))):
        if data:
            data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng)
    return data
