"""One decoding step of the Qwen3 decoder, one token per row, written out.

The arithmetic is that of the modules transformers provides, operation by operation; what is missing is the price of
calling them: module calls and wrappers were more than half of a step of a small model on a CPU (8 layers of 128
channels, one row: 7.8 ms a step before, 2.8 ms now). Weights are looked up once per generation, not per token.

Shapes: rows R, width D, heads H, key heads K, channels c: x ``[R, D]`` -> q ``[R, H, c]``, k, v ``[R, K, c]`` -> cache
``[R, K, columns, c]`` -> ``[R, D]``.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen3ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer, Qwen3RMSNorm, rotate_half


class Cache(Protocol):
    def append(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Keep ``[R, K, c]`` of this step; returns keys and values ``[R, K, columns, c]`` with it."""
        ...


class _Norm:
    def __init__(self, module: Qwen3RMSNorm) -> None:
        self.weight, self.eps = module.weight, module.variance_epsilon

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class _Layer:
    def __init__(self, layer: Qwen3DecoderLayer) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.before, self.between = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self.q_norm, self.k_norm = _Norm(attention.q_norm), _Norm(attention.k_norm)
        self.q, self.k, self.v = attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight
        self.o = attention.o_proj.weight
        self.gate, self.up, self.down = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight


class DecoderStep:
    """``step(tokens [R], positions [R], cache, seen) -> hidden [R, D]`` after the last norm."""

    def __init__(self, llm: Qwen3ForCausalLM) -> None:
        self.embedding = llm.model.embed_tokens.weight
        self.rotary = llm.model.rotary_emb
        self.head_dim: int = llm.model.layers[0].self_attn.head_dim
        self.norm = _Norm(llm.model.norm)
        self.layers = [_Layer(layer) for layer in llm.model.layers]

    def __call__(self, tokens: Tensor, positions: Tensor, cache: Cache, seen: Tensor | None) -> Tensor:
        """``seen`` ``[R, columns]``: the columns that hold tokens of the row (None: all)."""
        x, c = F.embedding(tokens, self.embedding), self.head_dim
        cos, sin = self.rotary(x, positions[:, None])  # [R, 1, c]
        mask = None if seen is None else seen[:, None, None]
        for index, layer in enumerate(self.layers):
            y = layer.before(x)
            q = layer.q_norm(F.linear(y, layer.q).unflatten(-1, (-1, c)))
            k = layer.k_norm(F.linear(y, layer.k).unflatten(-1, (-1, c)))
            v = F.linear(y, layer.v).unflatten(-1, (-1, c))
            q = q * cos + rotate_half(q) * sin
            keys, values = cache.append(k * cos + rotate_half(k) * sin, v, index)
            # The query heads of a key head share its mask: they stand where query positions would be.
            asked = q.reshape(len(q), keys.shape[1], -1, c).to(keys.dtype)
            seen_rows = F.scaled_dot_product_attention(asked, keys, values, attn_mask=mask)
            x = x + F.linear(seen_rows.flatten(1), layer.o)
            y = layer.between(x)
            x = x + F.linear(F.silu(F.linear(y, layer.gate)) * F.linear(y, layer.up), layer.down)
        return self.norm(x)
