"""How the next token is drawn from logits: temperature, and the filters of the released ``chat`` (paper.md 2.9)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """``temperature`` 0 is greedy. ``top_k`` 0 and ``top_p`` 1 keep everything; of equals at the edge of ``top_k`` all
    stay. ``repetition_penalty`` divides positive and multiplies negative logits of tokens already *generated* (the
    prompt does not count, as in the released code, which prompts with embeddings)."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(f"sampling is out of range: {self}")


# The released ``chat``: sampling in short and in long mode (paper.md 2.9). Its default without sampling is three beams.
SHORT = Sampling(0.7, top_k=100, top_p=0.8, repetition_penalty=1.03)
LONG = Sampling(0.7)


def choose(logits: Tensor, sampling: Sampling, draws: Tensor | None, said: Tensor) -> tuple[Tensor, Tensor]:
    """Ids ``[rows]`` and their log-probabilities under the distribution sampled from (greedy: temperature 1).

    logits ``[rows, vocabulary]`` float32; draws ``[rows]`` in [0, 1), or None for greedy; said ``[rows, steps]``: the
    tokens generated so far. Sampling inverts the cumulative distribution at one draw per row.
    """
    if sampling.repetition_penalty != 1 and said.shape[1]:
        scores = logits.gather(1, said)
        penalty = sampling.repetition_penalty
        logits = logits.scatter(1, said, torch.where(scores > 0, scores / penalty, scores * penalty))
    if draws is None:
        chosen = logits.argmax(-1)
        return chosen, torch.log_softmax(logits, dim=-1).gather(-1, chosen[:, None])[:, 0]
    logp = torch.log_softmax(_filter(logits / sampling.temperature, sampling), dim=-1)
    cumulative = logp.exp().cumsum(-1)
    target = (draws * cumulative[:, -1])[:, None]
    chosen = torch.searchsorted(cumulative, target, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
    return chosen, logp.gather(-1, chosen[:, None])[:, 0]


def _filter(logits: Tensor, sampling: Sampling) -> Tensor:
    """-inf outside the ``top_k`` largest, then outside the smallest set that holds ``top_p`` of the mass."""
    if 0 < sampling.top_k < logits.shape[-1]:
        edge = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < edge, float("-inf"))
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        mass = ordered.softmax(-1)
        beyond = mass.cumsum(-1) - mass >= sampling.top_p  # the mass before a token already suffices
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(1, order, beyond), float("-inf"))
    return logits
