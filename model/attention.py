"""Attention inside blocks of one long sequence, without a T x T mask and (almost) without padding.

Blocks (views, packages, documents) lie end to end; those of equal length are neighbours and are attended together as
``[blocks, heads, length, channels]``: this is what "varlen" means on a CPU, where neither varlen nor flex kernels can
train. Documents rarely have equal lengths, so causal blocks of *nearly* equal length may share a group: rows past the
end of the shorter ones are only seen by queries past the end too, whose results are dropped. No mask is needed.

One function computes a group (``attend``): SDPA, or in bfloat16 on a CPU two products and a softmax (measured 4-5x
faster there than the SDPA kernel at 100-500 tokens, and never slower up to 1,024). In float32 SDPA wins, with AVX-512 and
with AVX2 alike (1.05-1.3x at 64-500 tokens; ``docs/performance.md``).

That is the kernel ``blocks``, which runs everywhere and is the default. ``varlen`` (PyTorch's own) takes the blocks in the
order given, in one call; it needs a CUDA device and 16-bit numbers. ``MiniCPMV.set_attention`` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import import_module
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

from pipelines.core.errors import ConfigError

Kernel = Literal["blocks", "varlen"]
LANGUAGE_ATTENTION = "cookhouse_packed"
EXPLICIT_UP_TO = 1024  # keys


@dataclass(frozen=True)
class Group:
    """``count`` neighbouring blocks of ``length`` rows, ``rows`` in all, from row ``start`` on. Where lengths differ,
    ``spread`` ``[count * length]`` names the row (within the group) of every place and ``kept`` ``[rows]`` the places
    that are real."""

    start: int
    rows: int
    count: int
    length: int
    spread: Tensor | None = None
    kept: Tensor | None = None

    @classmethod
    def of(cls, start: int, lengths: list[int], device: torch.device) -> Group:
        """``lengths`` ascend."""
        count, longest, rows = len(lengths), lengths[-1], sum(lengths)
        if lengths[0] == longest:
            return cls(start, rows, count, longest)
        sizes, places = torch.tensor(lengths), torch.arange(longest)
        spread = ((sizes.cumsum(0) - sizes)[:, None] + places).clamp(max=rows - 1).flatten()
        kept = (places < sizes[:, None]).flatten().nonzero()[:, 0]
        return cls(start, rows, count, longest, spread.to(device), kept.to(device))

    def take(self, x: Tensor) -> Tensor:
        """Rows ``[N, heads, c]`` of the whole sequence -> ``[count, heads, length, c]``."""
        x = x[self.start : self.start + self.rows]
        if self.spread is not None:
            x = x.index_select(0, self.spread)
        return x.unflatten(0, (self.count, self.length)).transpose(1, 2)

    def rows_of(self, x: Tensor) -> Tensor:
        """The inverse, for a result: ``[count, heads, length, c]`` -> ``[rows, heads, c]``."""
        x = x.transpose(1, 2).flatten(0, 1)
        return x if self.kept is None else x.index_select(0, self.kept)


@dataclass(frozen=True)
class Blocks:
    """An order of blocks in which equal lengths are neighbours. The kernel ``varlen`` keeps the order given and needs
    no groups. ``lengths`` are in the new order.

    Example: lengths (3, 5, 3) give order (0, 2, 1) and two groups: two blocks of 3 rows, then one of 5.
    """

    order: tuple[int, ...]
    lengths: tuple[int, ...]
    groups: tuple[Group, ...]
    forth: Tensor | None
    back: Tensor | None
    kernel: Kernel = "blocks"

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device, slack: float = 0.0, kernel: Kernel = "blocks") -> Blocks:
        """``slack``: how much longer than its shortest block a group may be (0 = equal lengths only). Only causal
        attention may use groups with slack."""
        if kernel != "blocks":
            return cls(tuple(range(len(lengths))), tuple(lengths), (), None, None, kernel)
        order = sorted(range(len(lengths)), key=lambda i: lengths[i])
        runs: list[list[int]] = []
        for i in order:
            if runs and lengths[i] <= runs[-1][0] * (1 + slack):
                runs[-1].append(lengths[i])
            else:
                runs.append([lengths[i]])
        groups, start = [], 0
        for run in runs:
            groups.append(Group.of(start, run, device))
            start += sum(run)
        forth = back = None
        if order != list(range(len(lengths))):
            starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
            forth = torch.cat([torch.arange(starts[i], starts[i] + lengths[i]) for i in order])
            back = torch.empty_like(forth)
            back[forth] = torch.arange(len(forth))
            forth, back = forth.to(device), back.to(device)
        return cls(tuple(order), tuple(lengths[i] for i in order), tuple(groups), forth, back)

    @cached_property
    def ends(self) -> Tensor:
        """``[blocks + 1]`` int32: where each block begins, and the end of the last."""
        return torch.tensor([0, *self.lengths]).cumsum(0).to(torch.int32)

    def gather(self, x: Tensor) -> Tensor:
        """Rows ``[N, ...]`` in the given order -> grouped order."""
        return x if self.forth is None else x.index_select(0, self.forth)

    def restore(self, x: Tensor) -> Tensor:
        """The inverse of ``gather``."""
        return x if self.back is None else x.index_select(0, self.back)


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
    """q ``[B, heads, L, c]``, k and v ``[B, kv_heads, K, c]`` (kv_heads divides heads) -> ``[B, heads, L, c]``."""
    dtype = _explicit_dtype(v)
    if dtype is None or k.shape[2] > EXPLICIT_UP_TO:
        gqa = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal and q.shape[2] > 1, enable_gqa=gqa)
    with torch.autocast(q.device.type, enabled=False):
        batch, heads, length, channels = q.shape
        shared = k.shape[1]
        q = (q * channels**-0.5).to(dtype).reshape(batch, shared, -1, channels)
        scores = (q @ k.to(dtype).transpose(-1, -2)).view(batch, heads, length, -1)
        if causal and length > 1:
            scores = scores + _future(length, dtype)
        weights = scores.softmax(-1).view(batch, shared, -1, k.shape[2])
        return (weights @ v.to(dtype)).view(batch, heads, length, channels)


def _explicit_dtype(v: Tensor) -> torch.dtype | None:
    """bfloat16 where the explicit form is the faster one, else None."""
    if v.device.type != "cpu":
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else v.dtype
    return dtype if dtype == torch.bfloat16 else None


@lru_cache(maxsize=32)
def _future(length: int, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # cached tensors must serve training too
        return torch.full((length, length), float("-inf"), dtype=dtype, device="cpu").triu(1)


def block_attention(q_nhc: Tensor, k_nhc: Tensor, v_nhc: Tensor, blocks: Blocks, *, causal: bool = False) -> Tensor:
    """Attention of each block to itself, rows in grouped order: q ``[N, heads, c]``, k and v ``[N, kv_heads, c]`` ->
    ``[N, heads, c]``."""
    if blocks.kernel != "blocks":
        return _whole(q_nhc, k_nhc, v_nhc, blocks.ends, blocks, causal)
    outputs = []
    for group in blocks.groups:
        q, k, v = group.take(q_nhc), group.take(k_nhc), group.take(v_nhc)
        outputs.append(group.rows_of(attend(q, k, v, causal=causal)))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs) if outputs else q_nhc


def query_attention(q_hqc: Tensor, k_nhc: Tensor, v_nhc: Tensor, blocks: Blocks) -> Tensor:
    """The same Q queries ``[heads, Q, c]`` asked of every block: k and v ``[N, heads, c]`` -> ``[G, Q, heads * c]``."""
    count, (heads, queries, channels) = len(blocks.lengths), q_hqc.shape
    if blocks.kernel != "blocks" and count:
        asked = q_hqc.transpose(0, 1).repeat(count, 1, 1)  # [G * Q, heads, c]
        starts = torch.arange(count + 1, dtype=torch.int32) * queries
        return _whole(asked, k_nhc, v_nhc, starts, blocks, False).view(count, queries, heads * channels)
    outputs = [
        attend(q_hqc.expand(group.count, -1, -1, -1), group.take(k_nhc), group.take(v_nhc)).transpose(1, 2).flatten(2)
        for group in blocks.groups
    ]
    return torch.cat(outputs) if outputs else k_nhc.new_zeros(0, queries, heads * channels)


def _whole(q: Tensor, k: Tensor, v: Tensor, q_ends: Tensor, blocks: Blocks, causal: bool) -> Tensor:
    """All blocks in one call; query block i (between ``q_ends`` i and i + 1) sees key block i."""
    k_ends = blocks.ends
    call = varlen_kernel(q.device)
    q, k = q.to(v.dtype), k.to(v.dtype)  # under autocast the norms of the decoder leave float32
    longest = int(q_ends.diff().max()), int(k_ends.diff().max())
    ends = q_ends.to(q.device, non_blocking=True), k_ends.to(q.device, non_blocking=True)
    out: Tensor = call(q, k, v, *ends, *longest, causal)
    return out


def varlen_kernel(device: torch.device) -> Any:
    """``f(q, k, v, q_ends, k_ends, q_longest, k_longest, causal)``. Raises ConfigError off CUDA."""
    if device.type != "cuda":
        raise ConfigError("attention 'varlen' needs a CUDA device", why=f"the model is on {device}", do="use blocks")
    varlen = import_module("torch.nn.attention.varlen").varlen_attn
    return lambda q, k, v, a, b, m, n, causal: varlen(
        q, k, v, a, b, m, n, window_size=(-1, 0) if causal else (-1, -1), enable_gqa=q.shape[1] != k.shape[1]
    )


def language_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    blocks: Blocks | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """What transformers calls in every decoder layer: query ``[B, heads, T, c]``, key, value ``[B, kv_heads, K, c]``. With
    ``blocks`` the batch is one pack in grouped order, else a plain causal sequence, or rows with a mask ``[B, 1, T, K]``."""
    if blocks is not None:
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        return block_attention(q, k, v, blocks, causal=True)[None], None
    if attention_mask is None:
        return attend(query, key, value, causal=True).transpose(1, 2), None
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, enable_gqa=True)
    return out.transpose(1, 2), None


AttentionInterface.register(LANGUAGE_ATTENTION, language_attention)
