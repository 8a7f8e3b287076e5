"""Where the recipe begins: a SigLIP2 tower and a Qwen3 decoder, as their own repositories publish them, under our names.

    vision_model.encoder.layers.0...  (SigLIP, SigLIP2)   -> encoder.layers.0...      its text tower and pooling head go
    model.layers.0... / lm_head       (Qwen3)             -> the same                 a tied head is written out
    vpm.* / llm.*                     (a checkpoint of ours, or one part of it)       as they are

Two tables may have another length than ours: learned positions ``[g * g, d]`` are resized to our grid (bicubic, as towers
are moved between resolutions), token rows beyond our vocabulary are cut (Qwen3 pads its own: 151,936 rows, the released
model keeps 151,748), and missing ones start as the mean of all rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from model.config import LanguageConfig, VisionConfig
from model.weights import read_file, read_weights
from pipelines.core.errors import DataError

_POSITIONS, _PATCHES = "embeddings.position_embedding.weight", "embeddings.patch_embedding.weight"
_NOT_OURS = ("text_model.", "logit_", "head.", "embeddings.position_ids")
_TOKENS, _HEAD = "model.embed_tokens.weight", "lm_head.weight"


def tower_state(path: str | Path, config: VisionConfig) -> dict[str, Tensor]:
    """Tensors of ``VisionTower`` from a file or folder of weights; names and shapes are checked where they are loaded.
    Raises DataError for a position table that is no square."""
    state = {}
    for name, tensor in _all(path, "vpm.", "llm.").items():
        name = name.rpartition("vision_model.")[2]
        if not name.startswith(_NOT_OURS):
            state[name] = tensor
    if _POSITIONS in state:
        state[_POSITIONS] = resized_positions(state[_POSITIONS], config.grid)
    flat = state.get(_PATCHES)
    if flat is not None and flat.shape[1:] == (
        config.patch_dim,
    ):  # NaFlex towers project (row, column, channel) patches
        state[_PATCHES] = flat.unflatten(1, (config.patch_size, config.patch_size, 3)).permute(0, 3, 1, 2).contiguous()
    return state


def language_state(path: str | Path, config: LanguageConfig) -> dict[str, Tensor]:
    """Tensors of ``Qwen3ForCausalLM`` from a file or folder of weights, with ``config.vocab_size`` rows of tokens."""
    state = _all(path, "llm.", "vpm.")
    if _HEAD not in state and _TOKENS in state and not config.tie_word_embeddings:
        state[_HEAD] = state[_TOKENS].clone()
    for name in (_TOKENS, _HEAD):
        if name in state:
            state[name] = resized_rows(state[name], config.vocab_size)
    return state


def resized_positions(table: Tensor, grid: int) -> Tensor:
    """``[g * g, d]`` -> ``[grid * grid, d]``, bicubic in float32."""
    side = math.isqrt(len(table))
    if side * side != len(table):
        raise DataError(f"the position table has {len(table)} rows", why="only square tables can be resized")
    if side == grid:
        return table
    square = table.float().T.unflatten(1, (side, side))[None]
    return F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)[0].flatten(1).T.to(table.dtype)


def resized_rows(table: Tensor, rows: int) -> Tensor:
    """The first ``rows`` rows of ``[n, d]``; beyond n, the mean of all."""
    if len(table) >= rows:
        return table[:rows]
    mean = table.float().mean(0, keepdim=True).to(table.dtype)
    return torch.cat([table, mean.expand(rows - len(table), -1)])


def _all(path: str | Path, prefix: str, foreign: str) -> dict[str, Tensor]:
    where = Path(path)
    given: Mapping[str, Tensor] = read_weights(where) if where.is_dir() else read_file(where)
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in given.items()
        if not name.startswith((foreign, "resampler."))
    }
