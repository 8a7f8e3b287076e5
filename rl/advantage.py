"""Rewards of one group to advantages. Pure numpy; one small function per estimator (Shao et al. 2024, Liu et al. 2025,
Ahmadian et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

Estimator = Literal["grpo", "dr_grpo", "rloo"]
MIN_STD = 1e-6  # below this a group carries no preference, only rounding


def grpo(rewards: Sequence[float]) -> np.ndarray:
    """(R - mean) / (std + 1e-6) over the group, population std; all zero where std < 1e-6.

    >>> grpo([1.0, 0.0]).round(3).tolist()
    [1.0, -1.0]
    """
    values = _group(rewards)
    std = values.std()
    return (values - values.mean()) / (std + MIN_STD) if std >= MIN_STD else np.zeros_like(values)


def dr_grpo(rewards: Sequence[float]) -> np.ndarray:
    """R - mean: no division by std, so easy and hard prompts are not weighted up."""
    values = _group(rewards)
    return values - values.mean() if values.std() >= MIN_STD else np.zeros_like(values)


def rloo(rewards: Sequence[float]) -> np.ndarray:
    """R - mean of the *other* completions = G / (G - 1) times Dr.GRPO. Raises ValueError for a group of one."""
    values = _group(rewards)
    if len(values) < 2:
        raise ValueError("leave-one-out needs at least two completions per prompt")
    return dr_grpo(rewards) * len(values) / (len(values) - 1)


ESTIMATORS: dict[Estimator, Callable[[Sequence[float]], np.ndarray]] = {"grpo": grpo, "dr_grpo": dr_grpo, "rloo": rloo}


def _group(rewards: Sequence[float]) -> np.ndarray:
    values = np.asarray(rewards, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"a group is a non-empty list of rewards, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"rewards must be finite, got {values.tolist()}")
    return values
