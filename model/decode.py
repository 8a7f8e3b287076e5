"""Batched decoding: prompts of unequal length prefilled as one pack, then one column of a shared cache per step.

1. Prefill: all prompts end to end (no padding), each seen once even when n completions are asked for.
2. The keys and values go into one cache ``[rows, kv_heads, columns, c]`` per layer, prompts aligned to the *right*, so
   that every row writes its next token into the same column. Masks come from lengths, never from an id.
3. Step: embed the last tokens, attend over the filled columns, sample, until end or limit; rows that have finished are
   compacted away as soon as a quarter has.

Random draws are taken per row of the whole call before compaction: a completion does not depend on when its
neighbours end.
``logprobs`` are of the distribution sampled from (temperature, filters and ban applied; greedy: temperature 1).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from model.minicpmv import MiniCPMV
from model.pack import Encoded, pack
from model.sampling import Sampling, choose
from model.step import DecoderStep

OnToken = Callable[[int, int], None]


@dataclass(frozen=True)
class Completion:
    """``token_ids`` with the end token where one was sampled; ``logprobs`` one per token; ``finish``: stop | length."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]


class PrefillCache:
    """Catches the keys and values ``[1, kv_heads, T, c]`` of every layer while a pack runs through."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []

    def update(self, key: Tensor, value: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        self.layers.append((key[0].to(value.dtype), value[0]))  # under autocast keys come out in float32
        return key, value


class DecodeCache:
    """Keys and values ``[rows, kv_heads, columns, c]`` per layer; each step fills column ``filled``."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]], filled: int) -> None:
        self.layers = layers
        self.filled = filled

    @classmethod
    def from_prefill(cls, prefill: PrefillCache, source: Tensor, rows: int, width: int, new: int) -> DecodeCache:
        """``source`` ``[rows * width]``: position (grouped order) of each prompt column of each row. The prefill's layers
        are used up, so that both never exist whole."""
        layers = []
        while prefill.layers:
            pair, layer = prefill.layers.pop(0), []
            for packed in pair:
                heads, _, channels = packed.shape
                cache = packed.new_empty(rows, heads, width + new, channels)
                rowwise = packed.transpose(0, 1).index_select(0, source).view(rows, width, heads, channels)
                cache[:, :, :width] = rowwise.transpose(1, 2)
                layer.append(cache)
            layers.append((layer[0], layer[1]))
        return cls(layers, width)

    def append(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """key, value ``[rows, kv_heads, c]`` of this step -> everything up to and with them."""
        keys, values = self.layers[layer]
        keys[:, :, self.filled] = key
        values[:, :, self.filled] = value
        return keys[:, :, : self.filled + 1], values[:, :, : self.filled + 1]

    def keep(self, rows: Tensor) -> None:
        self.layers = [(keys.index_select(0, rows), values.index_select(0, rows)) for keys, values in self.layers]


@torch.no_grad()
def generate(
    model: MiniCPMV,
    samples: Sequence[Encoded],
    *,
    n: int = 1,
    max_new_tokens: int,
    temperature: float = 0.0,
    sampling: Sampling | None = None,
    seed: int = 0,
    eos_ids: Collection[int],
    forbid: Collection[int] = (),
    batch_rows: int = 256,
    on_token: OnToken | None = None,
) -> list[list[Completion]]:
    """``n`` completions for every prompt, in the order given. ``temperature`` 0 is greedy; ``sampling`` says more than a
    temperature and takes its place. ``forbid``: ids never sampled (image control tokens). At most ``batch_rows`` rows
    (prompts x n) are decoded together. ``on_token(row, token)`` is told every token as it is chosen, the end token
    included; row = prompt * n + completion. Raises ValueError when a prompt and its answer would exceed the position
    limit."""
    limit = model.config.language.max_position_embeddings
    longest = max(map(len, samples), default=0)
    if n < 1 or max_new_tokens < 1 or temperature < 0:
        raise ValueError(f"n = {n}, max_new_tokens = {max_new_tokens}, temperature = {temperature}")
    if longest + max_new_tokens > limit:
        raise ValueError(f"{longest} prompt tokens and {max_new_tokens} new ones exceed the limit of {limit} positions")
    sampling = sampling or Sampling(temperature)
    generator = torch.Generator().manual_seed(seed)
    training = model.training
    model.eval()
    try:
        out: list[list[Completion]] = []
        step = max(batch_rows // n, 1)
        for start in range(0, len(samples), step):
            batch = samples[start : start + step]
            ids = tuple(eos_ids), tuple(forbid)
            rows = _decode(model, batch, n, max_new_tokens, sampling, generator, *ids, on_token, start * n)
            out += [rows[i * n : (i + 1) * n] for i in range(len(batch))]
        return out
    finally:
        model.train(training)


def _decode(
    model: MiniCPMV,
    samples: Sequence[Encoded],
    n: int,
    new: int,
    sampling: Sampling,
    generator: torch.Generator,
    eos_ids: tuple[int, ...],
    forbid: tuple[int, ...],
    on_token: OnToken | None,
    first: int,
) -> list[Completion]:
    device = model.device
    packed = pack(samples).to(device, model.llm.lm_head.weight.dtype)
    lengths = packed.cu_seqlens.diff()
    width, total = int(lengths.max()), len(samples) * n
    prefill = PrefillCache()
    ends_of_prompts = (packed.cu_seqlens[1:] - 1).to(device)
    last = model.hidden(packed, ends_of_prompts, prefill).repeat_interleave(n, 0)  # [rows, D]

    # Prompts right-aligned: column c of a row of length L holds its token c - (width - L).
    offsets = torch.arange(width)[None] - (width - lengths)[:, None]
    source = (packed.cu_seqlens[:-1, None] + offsets.clamp(min=0)).repeat_interleave(n, 0).flatten()
    filled = torch.cat([offsets >= 0, torch.ones(len(samples), new, dtype=torch.bool)], 1)
    seen = None if bool(filled.all()) else filled.repeat_interleave(n, 0).to(device)
    back, source = model.blocks(packed).back, source.to(device)  # the pack ran in grouped order
    source = source if back is None else back[source]
    cache = DecodeCache.from_prefill(prefill, source, total, width, new)
    position = lengths.repeat_interleave(n).to(device)
    ends = torch.tensor(eos_ids, dtype=torch.long, device=device)
    banned = torch.tensor(forbid, dtype=torch.long, device=device)

    advance = DecoderStep(model.llm)
    head = model.llm.lm_head.weight
    tokens = torch.zeros(total, new, dtype=torch.long)
    logprobs = torch.zeros(total, new)
    counts = torch.full((total,), new)
    stopped = torch.zeros(total, dtype=torch.bool)
    alive = torch.arange(total)  # rows of the call still in the cache
    done = torch.zeros(total, dtype=torch.bool, device=device)  # of those, the finished ones
    for step in range(new):
        draws = torch.rand(total, generator=generator) if sampling.temperature > 0 else None
        logits = F.linear(last, head).float()
        if len(banned):
            logits[:, banned] = float("-inf")
        said = tokens[alive, :step].to(device)
        chosen, logp = choose(logits, sampling, None if draws is None else draws[alive].to(device), said)
        tokens[alive, step], logprobs[alive, step] = chosen.cpu(), logp.cpu()
        if on_token is not None:
            for row, token, over in zip(alive.tolist(), chosen.tolist(), done.tolist(), strict=True):
                if not over:
                    on_token(first + row, token)
        ending = torch.isin(chosen, ends) & ~done
        finished = alive[ending.cpu()]
        counts[finished], stopped[finished] = step + 1, True
        done |= ending
        ended = int(done.sum())
        if ended == len(alive) or step == new - 1:
            break
        if ended * 4 >= len(alive):
            keep = (~done).nonzero()[:, 0]
            cache.keep(keep)
            chosen, position, done = (x.index_select(0, keep) for x in (chosen, position, done))
            seen = None if seen is None else seen.index_select(0, keep)
            alive = alive[keep.cpu()]
        last = advance(chosen, position, cache, None if seen is None else seen[:, : cache.filled + 1])
        cache.filled += 1
        position = position + 1
    return [
        Completion(
            tuple(tokens[row, : counts[row]].tolist()),
            tuple(logprobs[row, : counts[row]].tolist()),
            "stop" if stopped[row] else "length",
        )
        for row in range(total)
    ]
