"""What reinforcement learning gained over the model it started from, with two intervals for two different questions.

*Another seed of RL, on these same items*: the unit is the seed. Each seed's gain is its mean paired difference over the
items; ``seed_interval`` is Student's t interval of those gains. The items and the starting model are the same for every
seed, so what another draw of items would change is common to all gains and is **not** in this interval.

*Other items like these, for these very runs*: the unit is the item, its difference averaged over the seeds;
``item_interval`` resamples items and leaves the seeds as they are. It says nothing of another seed, and takes items as
independent (the sample corpus asks one question a card; of many questions a page it would be too narrow).

Neither covers both at once. A bar about RL as a method is held against the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from pipelines.core.seeds import generator

NONE = (math.nan, math.nan)


@dataclass(frozen=True)
class Gain:
    """Mean paired difference; ``lower`` and ``upper`` end the 95 % interval over seeds (a bar is held against
    ``lower``; NaN where there is none), ``items_lower`` and ``items_upper`` the one over items. ``by_seed`` in the order
    given."""

    mean: float
    lower: float
    upper: float
    items_lower: float
    items_upper: float
    items: int
    seeds: int
    by_seed: tuple[float, ...]


def seed_interval(gains: Sequence[float]) -> tuple[float, float]:
    """Two-sided 95 % t interval of the mean of ``gains`` (one a seed, ``len - 1`` degrees of freedom).

    ``seed_interval([0.01, 0.02, 0.03])`` is 0.02 -+ 4.30 * 0.01 / sqrt(3). NaN for one seed, which has no spread, and
    for gains that are all equal: an interval of no width would claim to know what more likely is a seed that was
    never used."""
    from scipy.special import stdtrit  # 0.15 s to import, and only the end of an evaluation asks for it

    if len(gains) < 2 or min(gains) == max(gains):
        return NONE
    mean = fmean(gains)
    half = float(stdtrit(len(gains) - 1, 0.975)) * stdev(gains) / math.sqrt(len(gains))
    return mean - half, mean + half


def item_interval(differences: Sequence[float], draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """2.5 and 97.5 percentiles of the mean of ``differences`` (one an item) over ``draws`` resamples with replacement.

    Differences of verdicts have few values, and how often each is drawn is multinomial: no item is drawn singly."""
    values, counts = np.unique(np.asarray(differences, dtype=np.float64), return_counts=True)
    drawn = generator("item-bootstrap", seed).multinomial(len(differences), counts / len(differences), size=draws)
    lower, upper = np.percentile(drawn @ values / len(differences), [2.5, 97.5])
    return float(lower), float(upper)


def paired_gain(before: Sequence[float], after: Sequence[Sequence[float]], draws: int = 10_000, seed: int = 0) -> Gain:
    """Gain of ``after[seed][item]`` over ``before[item]``. Raises ValueError when the rows do not have one length, or
    nothing is given."""
    base, runs = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if runs.ndim != 2 or runs.shape[1:] != base.shape or runs.size == 0:
        raise ValueError(f"needs [items] and [seeds, items] with equal items, got {base.shape} and {runs.shape}")
    difference = runs - base
    by_seed = tuple(difference.mean(axis=1).tolist())
    over_items = item_interval(difference.mean(axis=0).tolist(), draws, seed)
    return Gain(fmean(by_seed), *seed_interval(by_seed), *over_items, difference.shape[1], len(by_seed), by_seed)
