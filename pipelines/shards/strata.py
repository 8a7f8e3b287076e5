"""Which dataset comes at which place of a global batch: exact counts in *every* window of one batch.

``mix.schedule`` keeps every prefix within one sample of the weights, but two prefixes may err to opposite sides, so a
batch cut out of its middle may miss a dataset by nearly two samples. Here each batch of B samples holds ``floor(B *
share)`` or ``ceil(B * share)`` of every dataset, and so does every window of B samples that lies across two batches:
from one batch to the next a place changes its dataset only where a count changes, so a window that slides over the
border exchanges one sample at a time, and each dataset at most once.

Who gets the samples left over after rounding down is decided by deadline: the dataset whose debt would reach a whole
sample first (debt is kept in exact fractions). Measured over 1,500 random mixes the sum over all batches so far stays
within one sample too; the property tests hold it there.

Worked example: weights {a: 1, b: 1}, batch 3 gives ``a b a | a b b | a a b ...``: a has 2, 1, 2 ... of 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

Shares = Mapping[str, Fraction]
RAMP_PARTS = 10_000
"""Shares between two points of a schedule are whole ten-thousandths, so that the fractions stay short."""


def shares_of(weights: Mapping[str, float | Fraction]) -> dict[str, Fraction]:
    """Weights of any scale as exact shares that sum to 1, sorted by name; datasets with 0 are left out. ``0.1`` means
    one tenth, not the binary number next to it."""
    exact = {name: Fraction(str(weight)) for name, weight in sorted(weights.items()) if weight > 0}
    total = sum(exact.values())
    return {name: weight / total for name, weight in exact.items()}


def between(start: Shares, end: Shares, way: Fraction) -> dict[str, Fraction]:
    """Shares ``way`` (0 to 1) of the distance from ``start`` to ``end``, rounded to whole ``RAMP_PARTS`` so that the sum
    stays 1 (largest remainders first, then by name)."""
    if way <= 0 or way >= 1:
        return dict(start if way <= 0 else end)
    names = sorted({*start, *end})
    zero = Fraction(0)
    exact = {
        name: (start.get(name, zero) + (end.get(name, zero) - start.get(name, zero)) * way) * RAMP_PARTS
        for name in names
    }
    parts = {name: int(value) for name, value in exact.items()}
    spare = RAMP_PARTS - sum(parts.values())
    for name in sorted(names, key=lambda name: (parts[name] - exact[name], name))[:spare]:
        parts[name] += 1
    return {name: Fraction(part, RAMP_PARTS) for name, part in parts.items() if part}


class Strata:
    """Batch after batch of dataset names; the state is what each dataset is still owed, and the last batch."""

    def __init__(self) -> None:
        self._debt: dict[str, Fraction] = {}
        self._places: list[str] = []
        self._number = 0

    def next(self, shares: Shares, size: int) -> list[str]:
        """The datasets of the next ``size`` samples (``shares`` as ``shares_of`` gives them)."""
        counts = self._counts(shares, size)
        places = self._places[:size]
        if len(places) < size:
            places = spread(counts)
        else:
            self._exchange(places, counts)
        self._places, self._number = places, self._number + 1
        return list(places)

    def _counts(self, shares: Shares, size: int) -> dict[str, int]:
        """``floor`` or ``ceil`` of ``size * share`` each, ``size`` in all."""
        counts: dict[str, int] = {}
        part: dict[str, Fraction] = {}
        for name, share in shares.items():
            exact = size * share
            counts[name] = exact.numerator // exact.denominator
            part[name] = exact - counts[name]
            self._debt[name] = self._debt.get(name, Fraction(0)) + part[name]

        def deadline(name: str) -> tuple[bool, Fraction, str]:
            debt = self._debt[name]
            return (debt <= 0, -debt if debt <= 0 else (1 - debt) / part[name], name)

        spare = size - sum(counts.values())
        for name in sorted((name for name in part if part[name]), key=deadline)[:spare]:
            counts[name] += 1
            self._debt[name] -= 1
        return counts

    def _exchange(self, places: list[str], counts: Mapping[str, int]) -> None:
        """Change as few places as the new counts ask for; which of its places a dataset gives up goes round."""
        held: dict[str, list[int]] = {}
        for place, name in enumerate(places):
            held.setdefault(name, []).append(place)
        free: list[int] = []
        for name in sorted(held):
            mine = held[name]
            for _ in range(len(mine) - counts.get(name, 0)):
                free.append(mine.pop(self._number % len(mine)))
        wanted = [name for name in sorted(counts) for _ in range(counts[name] - len(held.get(name, ())))]
        for place, name in zip(sorted(free), wanted, strict=True):
            places[place] = name


def spread(counts: Mapping[str, int]) -> list[str]:
    """Each name as often as counted, spread evenly. Every name of n has its k-th place at about (k + 1/2) / n."""
    wanted = [((2 * k + 1) / (2 * count), name) for name, count in counts.items() for k in range(count)]
    return [name for _, name in sorted(wanted)]
