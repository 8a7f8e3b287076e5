"""Equation 1 of the paper over one group, without its preference term: R = R_acc + R_format + R_rep. (No reward model ships
with the recipe.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rl.records import Judgement, Reward, Rollout
from rl.settings import RewardSettings

BROKEN = ("timeout", "error")


def scored(rollouts: Sequence[Rollout], judgements: Sequence[Judgement]) -> list[Judgement]:
    """The judgements, with what the worker scored in place of the accuracy (RLPR: how probable the thought makes the
    reference), where it did and the form is right."""
    return [
        judged if rollout.score is None or not judged.format else replace(judged, accuracy=rollout.score)
        for rollout, judged in zip(rollouts, judgements, strict=True)
    ]


def compose(judgements: Sequence[Judgement], rule: RewardSettings) -> tuple[Reward, ...]:
    """Rewards of one group, in order. A ``timeout`` or ``error`` verdict has no reward of its own: the rollout gets the mean
    of the judged ones, so that a broken verifier neither praises nor blames (advantage 0)."""
    totals = [
        rule.accuracy * item.accuracy + rule.format * item.format + rule.repetition * item.repetition
        for item in judgements
    ]
    sound = [total for total, item in zip(totals, judgements, strict=True) if item.verdict not in BROKEN]
    neutral = sum(sound) / len(sound) if sound else 0.0
    return tuple(
        Reward(neutral if item.verdict in BROKEN else total, item)
        for total, item in zip(totals, judgements, strict=True)
    )
