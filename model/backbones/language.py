"""Teach the tiny decoder generated text, and the habit of reading a picture before it has seen one.

Two kinds of sequence, both token ids made elsewhere: plain sentences (loss on every token) and *text cards*: a card's
rows spelled out over the 64 placeholder positions of the chat layout, one character or blank a position, followed by
the recipe's own prompts and answers (loss on the answer). Later the resampler only has to write into those positions
what the embeddings of the characters would have been.
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

IGNORED = -100


@dataclass(frozen=True)
class LanguagePlan:
    """``batch`` sequences a step; sequences of near-equal length are batched together."""

    steps: int
    batch: int = 48
    lr: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.05
    seed: int = 0


Example = tuple[Sequence[int], Sequence[int]]  # input ids and labels (IGNORED where not supervised), equal lengths


def batches(
    examples: Callable[[np.random.Generator], Example], plan: LanguagePlan, pool: int = 16
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """``get(step) -> (ids [B, T], labels [B, T])``. A pool of ``pool * batch`` examples is drawn at a time and sorted by
    length, so a batch holds little padding (right padding, labels IGNORED, harmless under a causal mask)."""
    cache: dict[int, list[list[Example]]] = {}

    def refill(index: int) -> list[list[Example]]:
        rng = np.random.Generator(np.random.PCG64([plan.seed, index]))
        drawn = sorted((examples(rng) for _ in range(pool * plan.batch)), key=lambda pair: len(pair[0]))
        groups = [drawn[i : i + plan.batch] for i in range(0, len(drawn), plan.batch)]
        return [groups[i] for i in rng.permutation(len(groups))]

    def get(step: int) -> tuple[Tensor, Tensor]:
        index = step // pool
        if index not in cache:
            cache.clear()
            cache[index] = refill(index)
        chosen = cache[index][step % pool]
        longest = max(len(ids) for ids, _ in chosen)
        ids = torch.zeros(len(chosen), longest, dtype=torch.long)
        labels = torch.full((len(chosen), longest), IGNORED)
        for row, (tokens, targets) in enumerate(chosen):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, : len(targets)] = torch.tensor(targets)
        return ids, labels

    return get


def token_losses(llm: Qwen3ForCausalLM, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each supervised token ``[K]`` and whether the best guess was right ``[K]``."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = llm.model(input_ids=ids, use_cache=False, attention_mask={"full_attention": None}).last_hidden_state[
            :, :-1
        ]
        targets = labels[:, 1:]
        keep = targets != IGNORED
        logits = llm.lm_head(hidden[keep]).float()
    return F.cross_entropy(logits, targets[keep], reduction="none"), logits.argmax(-1) == targets[keep]


def train_language(
    llm: Qwen3ForCausalLM,
    plan: LanguagePlan,
    examples: Callable[[np.random.Generator], Example],
    report: Callable[[int, dict[str, float]], None],
) -> None:
    """Train in place; one process, bf16 autocast, cosine schedule to 2 % of the rate."""
    get = batches(examples, plan)
    decay = [p for p in llm.parameters() if p.ndim > 1]
    plain = [p for p in llm.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": plan.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=plan.lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    for step in range(plan.steps):
        ids, labels = get(step)
        rate = (
            plan.lr
            * min(1.0, (step + 1) / plan.warmup)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / plan.steps)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses, right = token_losses(llm, ids, labels)
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
