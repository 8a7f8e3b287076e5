"""Runs of numbers, for ranges of many lengths laid out one after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def runs(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """0, 1, ... for each length in turn.

    >>> runs(np.array([2, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
