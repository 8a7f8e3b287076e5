"""Equation 1 of the paper over one group, R = R_acc + R_format + R_rep. Its preference term 1/2 (R_rm - mean) / std needs
a reward model, and none ships with a recipe: the term is absent, not zero-filled."""

from __future__ import annotations

from collections.abc import Sequence

from rl.settings import RewardSettings
from rl.types import Judgement, Reward


def compose(judgements: Sequence[Judgement], weights: RewardSettings) -> tuple[Reward, ...]:
    """Rewards of one group, in order.

    A ``timeout`` or ``error`` verdict has no reward of its own: the completion gets the mean of the judged ones, so
    that a broken verifier neither praises nor blames (advantage 0).
    """
    totals = [
        weights.accuracy * item.accuracy + weights.format * item.format + weights.repetition * item.repetition
        for item in judgements
    ]
    judged = [total for total, item in zip(totals, judgements, strict=True) if item.verdict not in ("timeout", "error")]
    neutral = sum(judged) / len(judged) if judged else 0.0
    return tuple(
        Reward(neutral if item.verdict in ("timeout", "error") else total, item)
        for total, item in zip(totals, judgements, strict=True)
    )
