"""Policy losses per token, as pure functions of tensors.

A loss is only ever *summed*: the caller divides by the token count of the whole global batch, computed before the batch
is split. Micro-batches, packs and learner ranks therefore cannot change the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

MAX_LOG_RATIO = 20.0  # exp(20) is already absurd; keeps one broken token from making the sum infinite


@dataclass(frozen=True)
class Clip:
    """Bounds of the ratio, ``[1 - low, 1 + high]``; a wider upper side keeps rare tokens alive (DAPO; RLPR)."""

    low: float = 0.2
    high: float = 0.28


def ppo_clip(
    logprobs: torch.Tensor, behaviour: torch.Tensor, advantages: torch.Tensor, clip: Clip
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Sum over tokens of ``-min(r A, clip(r) A)`` with ``r = exp(logprobs - behaviour)``.

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
    clipped = ratio.clamp(1.0 - clip.low, 1.0 + clip.high)
    loss = -torch.minimum(ratio * advantages, clipped * advantages)
    with torch.no_grad():
        sums = {
            "kl": (ratio - log_ratio - 1.0).sum(),  # k3 estimate of KL(sampler, policy); always >= 0
            "clip_high": ((ratio > 1.0 + clip.high) & (advantages > 0)).sum(),
            "clip_low": ((ratio < 1.0 - clip.low) & (advantages < 0)).sum(),
        }
    return loss.sum(), sums


def token_logprobs(
    logits: torch.Tensor, targets: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """``log p(target)`` [K] and entropy [K] of ``softmax(logits / temperature)``, both float32.

    ``logits`` [K, V], ``targets`` [K]. The temperature is the sampler's: learner and sampler speak of one distribution.
    """
    logs = torch.log_softmax(logits.float() / temperature, dim=-1)
    with torch.no_grad():
        entropy = -(logs.exp() * logs).sum(-1)
    return logs.gather(-1, targets.unsqueeze(-1)).squeeze(-1), entropy
