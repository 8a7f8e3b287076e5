"""Teach the tiny decoder generated text, and the habit of reading a picture before it has seen one.

Two kinds of sequence, both token ids made elsewhere: plain sentences (loss on every token) and *text cards*: a card's
rows spelled out over the 64 placeholder positions of the chat layout, followed by the recipe's own prompts and answers
(loss on the answer). A position may hold several tokens (narrow glyphs share a cell): the decoder gets the blend of
their embeddings, with noise. Later the resampler only has to write such blends into those positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen3ForCausalLM

from model.training.engine import Precision, autocast

CPU = torch.device("cpu")
IGNORED = -100


@dataclass(frozen=True)
class LanguagePlan:
    """``batch`` sequences a step; sequences of near-equal length are batched together. ``noise``: the most an example
    gets, relative to the embeddings."""

    steps: int
    batch: int = 48
    lr: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    noise: float = 0.6
    seed: int = 0
    precision: Precision = "fp32"


NOTHING = -1
Example = tuple[np.ndarray, np.ndarray]
"""Input tokens ``[T, slots]`` (NOTHING where a position holds fewer) and labels ``[T]`` (IGNORED: not supervised)."""


@dataclass(frozen=True)
class Batch:
    """Right-padded examples: ids ``[B, T, slots]``, labels ``[B, T]``, noise ``[B]`` in units of the embeddings' root
    mean square, added to all positions that are not supervised."""

    ids: Tensor
    labels: Tensor
    noise: Tensor


def collate(examples: Sequence[Example], noise: Sequence[float]) -> Batch:
    """Padding is token 0 without supervision: harmless under a causal mask."""
    longest = max(len(ids) for ids, _ in examples)
    ids = torch.full((len(examples), longest, examples[0][0].shape[1]), NOTHING)
    ids[:, :, 0] = 0
    labels = torch.full((len(examples), longest), IGNORED)
    for row, (tokens, targets) in enumerate(examples):
        ids[row, : len(tokens)] = torch.from_numpy(tokens)
        labels[row, : len(targets)] = torch.from_numpy(targets)
    return Batch(ids, labels, torch.tensor(noise, dtype=torch.float32))


def batches(
    examples: Callable[[np.random.Generator], Example], plan: LanguagePlan, pool: int = 16
) -> Callable[[int], Batch]:
    """``get(step)``. A pool of ``pool * batch`` examples is drawn at a time and sorted by length, so a batch holds
    little padding; a third of the examples stay without noise."""
    cache: dict[int, list[Batch]] = {}

    def refill(index: int) -> list[Batch]:
        rng = np.random.Generator(np.random.PCG64([plan.seed, index]))
        drawn = sorted((examples(rng) for _ in range(pool * plan.batch)), key=lambda pair: len(pair[0]))
        noise = np.maximum(0.0, rng.uniform(-0.5, 1.0, len(drawn))) * plan.noise
        starts = range(0, len(drawn), plan.batch)
        groups = [collate(drawn[i : i + plan.batch], noise[i : i + plan.batch].tolist()) for i in starts]
        return [groups[i] for i in rng.permutation(len(groups))]

    def get(step: int) -> Batch:
        index = step // pool
        if index not in cache:
            cache.clear()
            cache[index] = refill(index)
        return cache[index][step % pool]

    return get


def blend(embeddings: Tensor, ids: Tensor) -> Tensor:
    """``[..., D]``: the weighted sum of the embeddings of up to three tokens ``ids [..., slots]``; the earlier weigh
    more, so that their order can be told. Tables as ``embeddings [vocabulary, D]``. All NOTHING gives zeros."""
    weights = torch.zeros(4, max(3, ids.shape[-1]), dtype=embeddings.dtype)
    for used, row in ((1, (1.0,)), (2, (0.65, 0.35)), (3, (0.5, 0.3, 0.2))):
        weights[used, :used] = torch.tensor(row)
    held = ids != NOTHING
    chosen = weights[held.sum(-1)][..., : ids.shape[-1]] * held
    return (embeddings[ids.clamp(min=0)] * chosen[..., None]).sum(-2)


def token_losses(
    llm: Qwen3ForCausalLM, batch: Batch, generator: torch.Generator, precision: Precision = "fp32"
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each supervised token ``[K]`` and whether the best guess was right ``[K]``. The generator draws
    the noise."""
    table = llm.model.embed_tokens.weight
    inputs = blend(table, batch.ids)
    scale = table.detach().square().mean().sqrt() * batch.noise[:, None] * (batch.labels == IGNORED)
    inputs = inputs + torch.randn(inputs.shape, generator=generator) * scale[..., None]
    with autocast(CPU, precision):
        hidden = llm.model(
            inputs_embeds=inputs, use_cache=False, attention_mask={"full_attention": None}
        ).last_hidden_state[:, :-1]
        targets = batch.labels[:, 1:]
        keep = targets != IGNORED
        logits = llm.lm_head(hidden[keep]).float()
    return F.cross_entropy(logits, targets[keep], reduction="none"), logits.argmax(-1) == targets[keep]


def answers_right(
    llm: Qwen3ForCausalLM, examples: Sequence[Example], precision: Precision = "fp32", batch: int = 32
) -> tuple[float, float]:
    """Shares of supervised tokens guessed right given the true ones before them, and of examples with all of them
    right (for such an example greedy decoding gives exactly the target). No noise."""
    tokens: list[bool] = []
    whole = 0
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        given = collate(part, [0.0] * len(part))
        with torch.no_grad():
            right = token_losses(llm, given, torch.Generator(), precision)[1]
        rows = (given.labels[:, 1:] != IGNORED).nonzero()[:, 0]
        wrong = torch.zeros(len(part)).index_add_(0, rows, (~right).float())
        tokens += right.tolist()
        whole += int((wrong == 0).sum())
    return sum(tokens) / len(tokens), whole / len(examples)


def train_language(
    llm: Qwen3ForCausalLM,
    plan: LanguagePlan,
    examples: Callable[[np.random.Generator], Example],
    report: Callable[[int, dict[str, float]], None],
) -> None:
    """Train in place; one process, cosine schedule to 2 % of the rate."""
    get = batches(examples, plan)
    noise = torch.Generator().manual_seed(plan.seed)
    decay = [p for p in llm.parameters() if p.ndim > 1]
    plain = [p for p in llm.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": plan.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=plan.lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    for step in range(plan.steps):
        rate = (
            plan.lr
            * min(1.0, (step + 1) / plan.warmup)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / plan.steps)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses, right = token_losses(llm, get(step), noise, plan.precision)
        loss = losses.mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(llm.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == plan.steps - 1:
            values = {
                "train/loss": loss.item(),
                "train/accuracy": right.float().mean().item(),
                "train/grad_norm": norm.item(),
            }
            report(step, values)
