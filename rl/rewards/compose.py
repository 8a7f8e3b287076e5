"""Equation 1 of the paper over one group: R = R_acc + R_format + R_rep + 1/2 (R_rm - mean) / std.

The preference term is standardised over the rollouts of the same prompt and scores the final answer only (paper
5.2). No reward model ships with the tiny recipe, so its scores are optional: without them the term is absent, not
zero-filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rl.algorithm import grpo
from rl.records import Judgement, Reward, Rollout
from rl.settings import RewardSettings

PREFERENCE = 0.5
BROKEN = ("timeout", "error")


def scored(rollouts: Sequence[Rollout], judgements: Sequence[Judgement]) -> list[Judgement]:
    """The judgements, with what the worker scored in place of the accuracy (RLPR: how probable the thought makes the
    reference), where it did and the form is right."""
    return [
        judged if rollout.score is None or not judged.format else replace(judged, accuracy=rollout.score)
        for rollout, judged in zip(rollouts, judgements, strict=True)
    ]


def compose(
    judgements: Sequence[Judgement], rule: RewardSettings, preference: Sequence[float] | None = None
) -> tuple[Reward, ...]:
    """Rewards of one group, in order. Raises ValueError when the preference scores do not match the rollouts.

    A ``timeout`` or ``error`` verdict has no reward of its own: the rollout gets the mean of the judged ones, so
    that a broken verifier neither praises nor blames (advantage 0).
    """
    if preference is not None and len(preference) != len(judgements):
        raise ValueError(f"{len(preference)} preference scores for {len(judgements)} rollouts")
    terms = grpo(preference).tolist() if preference else [0.0] * len(judgements)
    totals = [
        rule.accuracy * item.accuracy
        + rule.format * item.format
        + rule.repetition * item.repetition
        + PREFERENCE * term
        for item, term in zip(judgements, terms, strict=True)
    ]
    sound = [total for total, item in zip(totals, judgements, strict=True) if item.verdict not in BROKEN]
    neutral = sum(sound) / len(sound) if sound else 0.0
    return tuple(
        Reward(neutral if item.verdict in BROKEN else total, item, term)
        for total, item, term in zip(totals, judgements, terms, strict=True)
    )
