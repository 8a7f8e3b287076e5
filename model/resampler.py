"""The 3D-Resampler: any number of patches of one image view, or of the 1-6 frames of a package, into Q tokens.

One cross-attention layer; 2D and 3D are the same weights because positions are fixed sin-cos terms (paper.md 2.5). As
in the released code, and unlike the paper's text, the 2D term (and the temporal one of a frame with a tick) is added to
the *keys* only: queries and values have no position. Packages of equal size are attended in one SDPA call; nothing is
padded, so the released padding paths and their mask defect do not exist here.

Shapes (N patches, V views, G packages, Q queries, D width): patches ``[N, kv_dim]`` -> keys, values ``[N, D]`` ->
per package ``[Q, D]`` -> ``[G, Q, D]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import Blocks, Kernel, query_attention
from model.config import ModelConfig

NO_TICK = -1


def sincos(positions: np.ndarray, channels: int) -> Tensor:
    """``[n]`` positions -> ``[n, channels]`` float32: sines, then cosines, of p / 10000^(2i/channels). float32 throughout,
    like the released tables: at late ticks the rounding of the angle is part of the definition (golden trap 2)."""
    omega = np.arange(channels // 2, dtype=np.float32)
    omega /= np.float32(channels / 2.0)
    omega = np.float32(1.0) / np.float32(10000) ** omega
    angles = np.outer(positions.astype(np.float32), omega)
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))


@lru_cache(maxsize=32)
def _table(size: int, channels: int) -> Tensor:
    """Rows 0..size-1 of the sin-cos table; grows by powers of two so that few sizes exist."""
    with torch.inference_mode(False):  # cached tensors must serve training too
        return sincos(np.arange(size), channels)


def position_terms(sizes: Sequence[tuple[int, int]], channels: int) -> Tensor:
    """2D terms ``[N, channels]`` of all patches of views of (rows, cols): first half column, second half row."""
    side = max((max(size) for size in sizes), default=1)
    table = _table(1 << max(6, (side - 1).bit_length()), channels // 2)
    rows = torch.cat([torch.arange(r).repeat_interleave(c) for r, c in sizes])
    cols = torch.cat([torch.arange(c).repeat(r) for r, c in sizes])
    return torch.cat([table[cols], table[rows]], dim=1)


def temporal_terms(ticks: Sequence[int], channels: int) -> Tensor:
    """``[F, channels]``: the term of each tick (0.1 s), zero where the tick is -1."""
    terms = sincos(np.maximum(np.asarray(ticks), 0), channels)
    return terms * (torch.tensor(ticks) != NO_TICK)[:, None]


class Resampler(nn.Module):
    """``forward(x [N, kv_dim], tgt_sizes [V, 2], packages) -> [G, Q, D]``; names as in the released ``resampler.*``."""

    def __init__(self, num_queries: int, width: int, kv_dim: int) -> None:
        super().__init__()
        self.heads = width // 128
        self.attention: Kernel = "blocks"
        self.query = nn.Parameter(torch.zeros(num_queries, width))
        self.kv_proj = nn.Linear(kv_dim, width, bias=False)
        self.attn = nn.MultiheadAttention(width, self.heads)  # holds the weights; the arithmetic is SDPA below
        self.ln_q, self.ln_kv, self.ln_post = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.proj = nn.Parameter(torch.zeros(width, width))

    @classmethod
    def of(cls, config: ModelConfig) -> Resampler:
        return cls(config.query_num, config.language.hidden_size, config.vision.hidden_size)

    def forward(self, x: Tensor, tgt_sizes: Tensor, packages: Sequence[Sequence[int]]) -> Tensor:
        """``packages``: for each output row the ticks of its views, in the order of the views; -1 = no temporal term. Raises
        ValueError when packages, sizes and patches do not agree."""
        sizes: list[tuple[int, int]] = [tuple(size) for size in tgt_sizes.tolist()]
        lengths = [rows * cols for rows, cols in sizes]
        ticks = [tick for package in packages for tick in package]
        if len(ticks) != len(sizes) or sum(lengths) != len(x) or not all(len(package) for package in packages):
            raise ValueError(
                f"{len(packages)} packages of {len(ticks)} views with {len(x)} patches, "
                f"but {len(sizes)} sizes of {sum(lengths)} patches"
            )
        values = self.ln_kv(self.kv_proj(x))  # [N, D]
        keys = values + self._terms(sizes, lengths, ticks).to(values)
        views = iter(lengths)
        per_package = [sum(islice(views, len(package))) for package in packages]
        blocks = Blocks.of(per_package, x.device, kernel=self.attention)
        out = self._attend(blocks.gather(keys), blocks.gather(values), blocks)  # [G, Q, D] in grouped order
        back = torch.tensor(blocks.order).argsort().to(x.device)
        return self.ln_post(self.attn.out_proj(out.index_select(0, back))) @ self.proj

    def _attend(self, keys: Tensor, values: Tensor, blocks: Blocks) -> Tensor:
        width = keys.shape[1]
        w_q, w_k, w_v = self.attn.in_proj_weight.split(width)
        b_q, b_k, b_v = self.attn.in_proj_bias.split(width)
        q = F.linear(self.ln_q(self.query), w_q, b_q).unflatten(-1, (self.heads, -1)).transpose(0, 1)  # [heads, Q, c]
        k = F.linear(keys, w_k, b_k).unflatten(-1, (self.heads, -1))  # [N, heads, c]
        v = F.linear(values, w_v, b_v).unflatten(-1, (self.heads, -1))
        return query_attention(q, k, v, blocks)

    def _terms(self, sizes: list[tuple[int, int]], lengths: list[int], ticks: list[int]) -> Tensor:
        width = self.query.shape[1]
        if not sizes:
            return torch.zeros(0, width)
        terms = position_terms(sizes, width)
        if any(tick != NO_TICK for tick in ticks):
            terms = terms + temporal_terms(ticks, width).repeat_interleave(torch.tensor(lengths), 0)
        return terms


@torch.no_grad()
def init_resampler(resampler: Resampler, generator: torch.Generator) -> None:
    """Weights of an untrained resampler: the published initialisation (paper.md 2.5)."""
    width = resampler.query.shape[1]
    for weight in (resampler.query, resampler.kv_proj.weight, resampler.attn.out_proj.weight):
        nn.init.trunc_normal_(weight, std=0.02, generator=generator)
    bound = math.sqrt(6 / (4 * width))  # Xavier over the stacked [3D, D] weight, PyTorch's default
    resampler.attn.in_proj_weight.uniform_(-bound, bound, generator=generator)
    resampler.attn.in_proj_bias.zero_()
    resampler.attn.out_proj.bias.zero_()
    resampler.proj.normal_(std=width**-0.5, generator=generator)
    for norm in (resampler.ln_q, resampler.ln_kv, resampler.ln_post):
        norm.reset_parameters()
