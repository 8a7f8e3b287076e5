"""Attention inside blocks of one long sequence, without a T x T mask and (almost) without padding.

Blocks (views, packages, documents) lie end to end; those of equal length are neighbours and are attended together as
``[blocks, heads, length, channels]``: this is what "varlen" means on a CPU, where neither varlen nor flex kernels can
train. Documents rarely have equal lengths, so causal blocks of *nearly* equal length may share a group: rows past the
end of the shorter ones are only seen by queries past the end too, whose results are dropped. No mask is needed.

One function computes a group (``attend``): SDPA, or in bfloat16 on a CPU two products and a softmax (measured 4-5x
faster there than the SDPA kernel at 100-500 tokens, and never slower up to 1,024; in float32 SDPA wins).
``dense_attention`` is the same through one big mask, kept as the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

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
    """An order of blocks in which equal lengths are neighbours.

    Example: lengths (3, 5, 3) give order (0, 2, 1) and two groups: two blocks of 3 rows, then one of 5.
    """

    order: tuple[int, ...]
    groups: tuple[Group, ...]
    forth: Tensor | None
    back: Tensor | None

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device, slack: float = 0.0) -> Blocks:
        """``slack``: how much longer than its shortest block a group may be (0 = equal lengths only). Only causal
        attention may use groups with slack."""
        order = sorted(range(len(lengths)), key=lambda i: lengths[i])
        runs: list[list[int]] = []
        for i in order:
            if runs and lengths[i] <= runs[-1][0] * (1 + slack):
                runs[-1].append(lengths[i])
            else:
                runs.append([lengths[i]])
        groups, start = [], 0
        for run in runs:
            groups.append(_group(start, run, device))
            start += sum(run)
        forth = back = None
        if order != list(range(len(lengths))):
            starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
            forth = torch.cat([torch.arange(starts[i], starts[i] + lengths[i]) for i in order])
            back = torch.empty_like(forth)
            back[forth] = torch.arange(len(forth))
            forth, back = forth.to(device), back.to(device)
        return cls(tuple(order), tuple(groups), forth, back)

    def gather(self, x: Tensor) -> Tensor:
        """Rows ``[N, ...]`` in the given order -> grouped order."""
        return x if self.forth is None else x.index_select(0, self.forth)

    def restore(self, x: Tensor) -> Tensor:
        """The inverse of ``gather``."""
        return x if self.back is None else x.index_select(0, self.back)


def _group(start: int, lengths: list[int], device: torch.device) -> Group:
    count, longest, rows = len(lengths), lengths[-1], sum(lengths)
    if lengths[0] == longest:
        return Group(start, rows, count, longest)
    sizes = torch.tensor(lengths)
    places = torch.arange(longest)
    spread = ((sizes.cumsum(0) - sizes)[:, None] + places).clamp(max=rows - 1).flatten()
    kept = (places < sizes[:, None]).flatten().nonzero()[:, 0]
    return Group(start, rows, count, longest, spread.to(device), kept.to(device))


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
    """``[length, length]``: -inf above the diagonal."""
    with torch.inference_mode(False):  # cached tensors must serve training too
        return torch.full((length, length), float("-inf"), dtype=dtype, device="cpu").triu(1)


def block_attention(q_nhc: Tensor, k_nhc: Tensor, v_nhc: Tensor, blocks: Blocks, *, causal: bool = False) -> Tensor:
    """Attention of each block to itself. Rows in grouped order; ``k``/``v`` may have fewer heads (grouped queries).

    q ``[N, heads, c]``, k and v ``[N, kv_heads, c]`` -> ``[N, heads, c]``.
    """
    outputs = []
    for group in blocks.groups:
        q, k, v = group.take(q_nhc), group.take(k_nhc), group.take(v_nhc)
        outputs.append(group.rows_of(attend(q, k, v, causal=causal)))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs) if outputs else q_nhc


def dense_attention(
    q_nhc: Tensor, k_nhc: Tensor, v_nhc: Tensor, lengths: Sequence[int], *, causal: bool = False
) -> Tensor:
    """The oracle: the same result through one ``[N, N]`` mask; rows in the given order."""
    block = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(q_nhc.device)
    mask = block[:, None] == block
    if causal:
        mask = mask.tril()
    q, k, v = (x.transpose(0, 1)[None] for x in (q_nhc, k_nhc, v_nhc))
    gqa = q_nhc.shape[1] != k_nhc.shape[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=gqa)[0].transpose(0, 1)


def language_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    blocks: Blocks | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """What transformers calls in every decoder layer: query ``[B, heads, T, c]``, key, value ``[B, kv_heads, K, c]``.

    With ``blocks`` the batch is one pack in grouped order (training, prefill). Without, it is rows with a key mask
    ``[B, 1, 1, K]`` (one decoding step), or a plain causal sequence.
    """
    if blocks is not None:
        q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
        out = block_attention(q, k, v, blocks, causal=True)
        return out[None], None
    if query.shape[2] == 1:
        # All query heads of a key head attend with the same mask: put them where the query positions would be.
        grouped = query.reshape(query.shape[0], key.shape[1], -1, query.shape[3]).to(key.dtype)
        out = F.scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask)
        return out.reshape(query.shape).transpose(1, 2), None
    if attention_mask is None:
        return attend(query, key, value, causal=True).transpose(1, 2), None
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, enable_gqa=True)
    return out.transpose(1, 2), None


AttentionInterface.register(LANGUAGE_ATTENTION, language_attention)
