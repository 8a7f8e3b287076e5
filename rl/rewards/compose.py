"""Equation 1 of the paper over one group: R = R_acc + R_format + R_rep + 1/2 (R_rm - mean) / std.

The preference term is standardised over the completions of the same prompt and scores the final answer only (paper
5.2). No reward model ships with the tiny recipe, so its scores are optional: without them the term is absent, not
zero-filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rl.advantage import grpo
from rl.records import Judgement, Reward


@dataclass(frozen=True)
class Weights:
    """Factors of the four terms; the paper's values are the defaults."""

    accuracy: float = 1.0
    format: float = 1.0
    repetition: float = 1.0
    preference: float = 0.5


def compose(
    judgements: Sequence[Judgement], weights: Weights, preference: Sequence[float] | None = None
) -> tuple[Reward, ...]:
    """Rewards of one group, in order. Raises ValueError when the preference scores do not match the completions.

    A ``timeout`` or ``error`` verdict has no reward of its own: the completion gets the mean of the judged ones, so
    that a broken verifier neither praises nor blames (advantage 0).
    """
    if preference is not None and len(preference) != len(judgements):
        raise ValueError(f"{len(preference)} preference scores for {len(judgements)} completions")
    terms = (
        [float(value) for value in grpo(preference)]
        if preference is not None and judgements
        else [0.0] * len(judgements)
    )
    totals = [
        weights.accuracy * item.accuracy
        + weights.format * item.format
        + weights.repetition * item.repetition
        + weights.preference * term
        for item, term in zip(judgements, terms, strict=True)
    ]
    judged = [total for total, item in zip(totals, judgements, strict=True) if item.verdict not in ("timeout", "error")]
    neutral = sum(judged) / len(judged) if judged else 0.0
    return tuple(
        Reward(neutral if item.verdict in ("timeout", "error") else total, item, term)
        for total, item, term in zip(totals, judgements, terms, strict=True)
    )
