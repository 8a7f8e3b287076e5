"""Which region gets which level: independent draws, so that levels mix inside one page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.corruption.operators import LEVELS, Level


def draw_levels(
    count: int, weights: Sequence[float], rng: np.random.Generator, keep_visible: bool = False
) -> list[Level]:
    """``count`` independent levels with probabilities proportional to ``weights`` (low, moderate, high).

    ``keep_visible`` (cards, where nothing but the regions is on the page): if every region came out high, one of them,
    drawn uniformly, is drawn again among low and moderate. Raises ValueError for weights that are no distribution.

    >>> draw_levels(3, (0.0, 0.0, 1.0), np.random.default_rng(0))
    ['high', 'high', 'high']
    """
    share = np.asarray(weights, dtype=np.float64)
    if share.shape != (3,) or (share < 0).any() or share.sum() <= 0:
        raise ValueError(f"weights must be three numbers >= 0 with a positive sum, got {tuple(weights)}")
    bounds = np.cumsum(share / share.sum())
    levels = [LEVELS[min(2, int(np.searchsorted(bounds, u, side="right")))] for u in rng.random(count)]
    if keep_visible and count and all(level == "high" for level in levels):
        visible = share[:2].sum()
        low = share[0] / visible if visible > 0 else 1.0
        levels[int(rng.integers(count))] = "low" if rng.random() < low else "moderate"
    return levels
