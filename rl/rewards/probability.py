"""RLPR: the reward is how probable the reference answer becomes after the sampled thought (arXiv 2506.18254).

Ids are joined, never decoded and tokenised again: prompt + sampled thought up to and with the closing tag + reference.
The engine scores the reference tokens with one prefill, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean_probability(logprobs: Sequence[float]) -> float:
    """Mean over the reference tokens of exp(log p). The mean of probabilities, not their product: one hard token must
    not rule. Raises ValueError for an empty reference."""
    if not logprobs:
        raise ValueError("a reference answer needs at least one token")
    return sum(math.exp(value) for value in logprobs) / len(logprobs)


def probability_reward(with_thought: Sequence[float], base: float) -> float:
    """clip(mean p(reference | prompt, thought) - base, 0, 1); ``base`` is the same mean without the thought, taken once
    per prompt with the policy the run started from."""
    return min(1.0, max(0.0, mean_probability(with_thought) - base))


def thought_prefix(token_ids: Sequence[int], close_id: int) -> tuple[int, ...] | None:
    """The sampled ids up to and with the only closing tag; None when the thought is malformed (reward 0, verdict
    ``format``: a broken thought is not patched)."""
    ids = tuple(token_ids)
    return ids[: ids.index(close_id) + 1] if ids.count(close_id) == 1 else None
