"""The vision tower: a SigLIP2-style NaViT encoder over views of any size, laid end to end without padding.

Released layout: views are padded to the longest of a batch and masked. Here a batch of views is one sequence of
patches ``[N, hidden]`` and attention is block-diagonal by view: views of equal length are brought together once at the
entry, so that each layer needs one SDPA call per *length* and no mask at all. Outputs come back in the order given.

Shapes (N patches in all, V views, P = 14 pixels, d = hidden): patches ``[N, 3*P*P]`` in the order of the convolution
weight (channel, row, column) -> embeddings ``[N, d]`` -> layers -> ``[N, d]`` after ``post_layernorm``.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import Blocks, Kernel, block_attention
from model.config import VisionConfig


@lru_cache(maxsize=4096)
def position_buckets(count: int, grid: int) -> tuple[int, ...]:
    """Row (or column) of the learned table for each of ``count`` patches along one side: index i goes to the number of
    boundaries k/grid that are <= i/count. On exact ties float32 decides, so the released arithmetic is kept operation by
    operation: float32 reciprocal, torch's vectorised ``arange``, bucketize from the right (golden trap 1).
    ``position_buckets(4, 70) == (0, 17, 35, 52)``."""
    step = torch.tensor(count, dtype=torch.int32, device="cpu").reciprocal()
    fractions = torch.arange(0, 1 - 1e-6, step.item(), device="cpu")
    boundaries = torch.arange(1 / grid, 1.0, 1 / grid, device="cpu")
    return tuple(torch.bucketize(fractions, boundaries, right=True).tolist())


@lru_cache(maxsize=1024)
def position_ids(rows: int, cols: int, grid: int) -> Tensor:
    """Ids ``[rows*cols]`` into the position table, row-major: row bucket * grid + column bucket."""
    with torch.inference_mode(False):  # cached tensors must serve training too
        row = torch.tensor(position_buckets(rows, grid), device="cpu")
        col = torch.tensor(position_buckets(cols, grid), device="cpu")
        return (row[:, None] * grid + col).flatten()


class Embeddings(nn.Module):
    """Patch projection plus learned position: ``[N, 3*P*P] -> [N, d]``. The convolution only holds the weights."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.patch_embedding = nn.Conv2d(3, config.hidden_size, config.patch_size, stride=config.patch_size)
        self.position_embedding = nn.Embedding(config.grid**2, config.hidden_size)

    def forward(self, patches: Tensor, positions: Tensor) -> Tensor:
        weight, bias = self.patch_embedding.weight, self.patch_embedding.bias
        return F.linear(patches.to(weight.dtype), weight.flatten(1), bias) + self.position_embedding(positions)


class SelfAttention(nn.Module):
    """Bidirectional attention inside each view, heads of ``d / heads`` channels."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_nd: Tensor, blocks: Blocks) -> Tensor:
        q_nhc, k_nhc, v_nhc = (
            proj(x_nd).unflatten(-1, (self.heads, -1)) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(block_attention(q_nhc, k_nhc, v_nhc, blocks).flatten(1))


class Mlp(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x_nd: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x_nd), approximate="tanh"))


class Layer(nn.Module):
    """Pre-norm block."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = SelfAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x_nd: Tensor, blocks: Blocks) -> Tensor:
        x_nd = x_nd + self.self_attn(self.layer_norm1(x_nd), blocks)
        return x_nd + self.mlp(self.layer_norm2(x_nd))


class Encoder(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))


class VisionTower(nn.Module):
    """``forward(patches [N, 3*P*P], tgt_sizes [V, 2]) -> [N, d]``; names as in the released ``vpm.*``."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.attention: Kernel = "blocks"
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def embed(self, patches: Tensor, tgt_sizes: Tensor) -> Tensor:
        """Patch plus position embeddings ``[N, d]``, before the first layer."""
        return self.embeddings(patches, self._positions(tgt_sizes.tolist(), patches.device))

    def forward(self, patches: Tensor, tgt_sizes: Tensor) -> Tensor:
        """Raises ValueError when the sizes do not add up to the patches given."""
        sizes: list[tuple[int, int]] = tgt_sizes.tolist()
        lengths = [rows * cols for rows, cols in sizes]
        if sum(lengths) != len(patches) or min(lengths, default=1) < 1:
            raise ValueError(f"tgt_sizes name {sum(lengths)} patches in {len(sizes)} views, but {len(patches)} came")
        blocks = Blocks.of(lengths, patches.device, kernel=self.attention)
        positions = self._positions([sizes[i] for i in blocks.order], patches.device)
        x_nd = self.embeddings(blocks.gather(patches), positions)
        for layer in self.encoder.layers:
            x_nd = layer(x_nd, blocks)
        return self.post_layernorm(blocks.restore(x_nd))

    def _positions(self, sizes: list[tuple[int, int]], device: torch.device) -> Tensor:
        parts = [position_ids(rows, cols, self.config.grid) for rows, cols in sizes]
        return (torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long)).to(device)


@torch.no_grad()
def init_vision(tower: VisionTower, generator: torch.Generator) -> None:
    """Weights for training a tower from nothing (SigLIP's scheme): Xavier projections, position table of std
    1/sqrt(d), patch weights of std 1/sqrt(3*P*P), norms 1/0, biases 0."""
    for module in tower.modules():
        if isinstance(module, nn.Linear):
            bound = math.sqrt(6 / sum(module.weight.shape))
            module.weight.uniform_(-bound, bound, generator=generator)
            module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.reset_parameters()
    conv = tower.embeddings.patch_embedding
    conv.weight.normal_(std=tower.config.patch_dim**-0.5, generator=generator)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    tower.embeddings.position_embedding.weight.normal_(std=tower.config.hidden_size**-0.5, generator=generator)
