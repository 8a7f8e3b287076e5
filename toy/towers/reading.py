"""A resampler that can nearly read before its first step, so that pretraining refines a reading instead of discovering
that pictures matter (docs/log.md). Made once, as the file that stage ``pretrain`` takes on its port ``start``.

The bridge is a linear map from patch features to token embeddings: where a glyph sheet says which character a patch holds,
the decoder has an embedding for it. Each query starts on a cell of a grid over a reference view and attends to the patches
there; values pass through the bridge, so a query writes about the mean token embedding of its cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from model.resampler import Resampler, init_resampler, sincos
from toy.towers.language import blend

VIEW = (8, 16)
"""Rows and columns of patches of a card, the reference view."""
BLANK_WEIGHT = 0.2
FREQUENCIES, GAIN, QUIET = 8, 3.0, 0.1


def fit_bridge(sheets: Iterable[tuple[Tensor, Tensor]], embeddings: Tensor, blank: int, ridge: float) -> Tensor:
    """``[width, decoder width]`` float32 from ``features [n, width]`` and ``tokens [n, slots]`` of each sheet; the target
    of a patch is the blend of its tokens. Patches whose first token is ``blank`` are many and weigh less. Embeddings
    ``[vocabulary, decoder width]``; ``ridge`` is relative to the mean of the diagonal of ``X^T X``."""
    products = []
    for features, tokens in sheets:
        x = features.double()
        weighted = (x * torch.where(tokens[:, :1] == blank, BLANK_WEIGHT, 1.0)).T
        products.append((weighted @ x, weighted @ blend(embeddings, tokens).double()))
    if not products:
        raise ValueError("no sheets to fit the bridge on")
    xx, xy = (torch.stack(part).sum(0) for part in zip(*products, strict=True))
    return torch.linalg.solve(xx + ridge * xx.diagonal().mean() * torch.eye(len(xx)), xy).float()


def nearest_token_share(bridge: Tensor, features: Tensor, tokens: Tensor, embeddings: Tensor, blank: int) -> float:
    """Share of glyph patches whose mapped feature is nearest (cosine) to the embedding of their first token."""
    normed = functional.normalize(embeddings, dim=1)
    guess = (functional.normalize(features @ bridge, dim=1) @ normed.T).argmax(1)
    glyph = tokens[:, 0] != blank
    return (guess == tokens[:, 0])[glyph].float().mean().item()


def init_reading(resampler: Resampler, seed: int, bridge: Tensor, embeddings: Tensor) -> None:
    """All weights: the published initialisation with the grid and the bridge ``[kv_dim, D]`` over it. ``embeddings``: the
    decoder's table, whose root mean square the output gets."""
    generator = torch.Generator().manual_seed(seed)
    init_resampler(resampler, generator)
    start_on_grid(resampler, generator, *VIEW)
    pass_values(resampler, bridge, embeddings.square().mean().sqrt().item())


def grid_of(queries: int, rows: int, cols: int) -> tuple[int, int]:
    """(R, C) with R*C = queries whose cells over a view of rows x cols patches are nearest to square; of two equally
    near the one with more columns, because text runs along rows. ``grid_of(64, 8, 16) == (4, 16)``."""
    pairs = [(queries // c, c) for c in range(queries, 0, -1) if queries % c == 0]
    return min(pairs, key=lambda pair: round(abs(math.log((rows / pair[0]) / (cols / pair[1]))), 9))


@torch.no_grad()
def start_on_grid(resampler: Resampler, generator: torch.Generator, rows: int, cols: int) -> None:
    """Queries carry the 2D code of their cell's centre, W_q and W_k copy its fastest channels into every head; follows
    ``init_resampler``. A query then has 84 % of its mass on its own cell of a view of random content.

    The score of query and key is gain * sum over frequencies of cos(w * distance) for columns and rows. On the copied
    channels the content of the keys is turned down (``ln_kv.weight``), or it would drown the code.
    """
    queries, width = resampler.query.shape
    grid_rows, grid_cols = grid_of(queries, rows, cols)
    half = width // 2
    one_axis = torch.cat([torch.arange(FREQUENCIES), half // 2 + torch.arange(FREQUENCIES)])  # fast sines and cosines
    copied = torch.cat([one_axis, half + one_axis])  # columns, then rows
    row_at = (np.arange(grid_rows) + 0.5) * rows / grid_rows - 0.5
    col_at = (np.arange(grid_cols) + 0.5) * cols / grid_cols - 0.5
    code = torch.cat(
        [sincos(np.tile(col_at, grid_rows), half), sincos(np.repeat(row_at, grid_cols), half)], dim=1
    )  # [Q, D]
    # The other channels are noise with the sum and norm that make ln_q leave the code exactly as it is.
    rest = torch.ones(width, dtype=torch.bool)
    rest[copied] = False
    noise = torch.randn(queries, int(rest.sum()), generator=generator)
    noise = noise - noise.mean(1, keepdim=True)
    mean = -code[:, copied].sum(1, keepdim=True) / noise.shape[1]
    room = width - code[:, copied].square().sum(1, keepdim=True) - noise.shape[1] * mean.square()
    code[:, rest] = noise * (room / noise.square().sum(1, keepdim=True)).sqrt() + mean
    channels = width // resampler.heads
    alpha = math.sqrt(GAIN * math.sqrt(channels))
    resampler.query.copy_(code)
    for weight in resampler.attn.in_proj_weight.split(width)[:2]:
        weight.normal_(std=0.02, generator=generator)
        for head in range(resampler.heads):
            weight[head * channels + torch.arange(len(copied)), copied] += alpha
    resampler.ln_kv.weight[copied] = QUIET


@torch.no_grad()
def pass_values(resampler: Resampler, bridge: Tensor, scale: float) -> None:
    """Let values pass through ``bridge [kv_dim, D]`` and nothing else; queries and keys stay as they are. ``scale``: root
    mean square of the decoder's embeddings, which the output gets. What ``ln_kv`` turns down for the keys, the value
    projection turns up again."""
    width = len(bridge.T)
    resampler.kv_proj.weight.copy_(bridge.T / scale)
    resampler.attn.in_proj_weight.split(width)[2].copy_(torch.diag(1 / resampler.ln_kv.weight))
    resampler.attn.out_proj.weight.copy_(torch.eye(width))
    resampler.proj.copy_(torch.eye(width) * scale)
