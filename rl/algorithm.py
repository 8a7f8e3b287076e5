"""Rewards of a group to advantages (numpy), and the policy loss per token (torch, which whoever calls has imported: the
process of the loop does not). Estimators: Shao et al. 2024 (GRPO), Liu et al. 2025 (Dr.GRPO), Ahmadian et al. 2024 (RLOO).

A loss is only ever *summed*: the caller divides by the token count of the whole global batch, computed before the batch
is split. Micro-batches, packs and learner ranks therefore cannot change the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Estimator = Literal["grpo", "dr_grpo", "rloo"]
MIN_STD = 1e-6  # below this a group carries no preference, only rounding
MAX_LOG_RATIO = 20.0  # exp(20) is already absurd; keeps one broken token from making the sum infinite


def grpo(rewards: Sequence[float]) -> np.ndarray:
    """(R - mean) / (std + 1e-6) over the group, population std; all zero where std < 1e-6.

    >>> grpo([1.0, 0.0]).round(3).tolist()
    [1.0, -1.0]
    """
    return dr_grpo(rewards) / (np.std(rewards) + MIN_STD)


def dr_grpo(rewards: Sequence[float]) -> np.ndarray:
    """R - mean: no division by std, so easy and hard prompts are not weighted up."""
    values = np.asarray(rewards, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"a group is a non-empty list of rewards, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"rewards must be finite, got {values.tolist()}")
    return values - values.mean() if values.std() >= MIN_STD else np.zeros_like(values)


def rloo(rewards: Sequence[float]) -> np.ndarray:
    """R - mean of the *other* rollouts = G / (G - 1) times Dr.GRPO. Raises ValueError for a group of one."""
    if len(rewards) < 2:
        raise ValueError("leave-one-out needs at least two rollouts per prompt")
    return dr_grpo(rewards) * len(rewards) / (len(rewards) - 1)


ESTIMATORS: dict[Estimator, Callable[[Sequence[float]], np.ndarray]] = {"grpo": grpo, "dr_grpo": dr_grpo, "rloo": rloo}


def ppo_clip(
    logprobs: Tensor, behaviour: Tensor, advantages: Tensor, low: float, high: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over tokens of ``-min(r A, clip(r) A)`` with ``r = exp(logprobs - behaviour)`` clipped to ``[1 - low, 1 +
    high]``; a wider upper side keeps rare tokens alive (DAPO; RLPR).

    ``logprobs`` (current policy, with gradient), ``behaviour`` (what sampled them) and ``advantages`` are float32 [K].
    The sampler's own log-probabilities stand for the old policy (bypass form: the embedded engine agrees with the
    learner to about 1e-6). Second result: sums over tokens, without gradient, to be divided like the loss.
    """
    if not logprobs.shape == behaviour.shape == advantages.shape:
        raise ValueError(
            f"shapes differ: {tuple(logprobs.shape)} log-probs, {tuple(behaviour.shape)} behaviour, "
            f"{tuple(advantages.shape)} advantages"
        )
    log_ratio = (logprobs - behaviour).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1.0 - low, 1.0 + high)
    loss = -(ratio * advantages).minimum(clipped * advantages)
    ratio, log_ratio = ratio.detach(), log_ratio.detach()
    return loss.sum(), {
        "kl": (ratio - log_ratio - 1.0).sum(),  # k3 estimate of KL(sampler, policy); always >= 0
        "clip_high": ((ratio > 1.0 + high) & (advantages > 0)).sum(),
        "clip_low": ((ratio < 1.0 - low) & (advantages < 0)).sum(),
    }


def token_logprobs(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """``log p(target)`` [K] and entropy [K] of ``softmax(logits / temperature)``, both float32.

    ``logits`` [K, V], ``targets`` [K]. The temperature is the sampler's: learner and sampler speak of one distribution.
    """
    logs = (logits.float() / temperature).log_softmax(-1)
    fixed = logs.detach()
    return logs.gather(-1, targets.unsqueeze(-1)).squeeze(-1), -(fixed.exp() * fixed).sum(-1)
