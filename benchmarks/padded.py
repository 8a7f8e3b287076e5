"""The layout of the released code, kept as a reference to measure and test against: everything padded.

Views are padded to the longest of a chunk of 16 and masked, attention is two products and a float32 softmax with a mask
added, the patch projection is a convolution over ``[B, 3, P, Lmax * P]``; the resampler pads every package to the
longest (frames x Lmax keys), so one video in a batch makes every image view pay for six frames. It works on the weights
of our modules, so equal outputs are a matter of arithmetic only. Two things are kinder than the original: masks are
left out where nothing is padded, and the resampler asks for no attention weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from model.resampler import Resampler, position_terms, temporal_terms
from model.vision import Layer, VisionTower, position_ids

VIEWS_A_CHUNK = 16  # the released vision_batch_size


def padded_visual(
    tower: VisionTower,
    resampler: Resampler,
    patches: Tensor,
    sizes: Sequence[tuple[int, int]],
    packages: Sequence[Sequence[int]],
) -> Tensor:
    """patches ``[N, 3*P*P]`` of views of (rows, cols), packages of ticks -> ``[G, Q, D]``."""
    features: list[Tensor] = []
    views = patches.split([rows * cols for rows, cols in sizes])
    for start in range(0, len(sizes), VIEWS_A_CHUNK):
        chunk = sizes[start : start + VIEWS_A_CHUNK]
        out = padded_tower(tower, views[start : start + VIEWS_A_CHUNK], chunk)
        features += [row[: rows * cols] for row, (rows, cols) in zip(out, chunk, strict=True)]
    return padded_resampler(resampler, features, sizes, packages)


def padded_tower(tower: VisionTower, views: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Views ``[L, 3*P*P]`` -> ``[B, Lmax, d]``; rows past a view's end mean nothing."""
    side, count = tower.config.patch_size, len(views)
    lengths = torch.tensor([len(view) for view in views])
    pixels = pad_sequence(list(views), batch_first=True)  # [B, Lmax, 3*P*P]
    longest = pixels.shape[1]
    strip = pixels.view(count, longest, 3, side, side).permute(0, 2, 3, 1, 4).reshape(count, 3, side, -1)
    x = tower.embeddings.patch_embedding(strip).flatten(2).transpose(1, 2)
    ids = [position_ids(rows, cols, tower.config.grid) for rows, cols in sizes]
    x = x + tower.embeddings.position_embedding(pad_sequence(ids, batch_first=True))
    mask = None
    if int(lengths.min()) != longest:
        hidden = torch.arange(longest)[None] >= lengths[:, None]
        mask = torch.zeros(count, 1, longest, longest, dtype=x.dtype)
        mask.masked_fill_(hidden[:, None, None], torch.finfo(x.dtype).min)
    for layer in tower.encoder.layers:
        x = _layer(layer, x, mask)  # type: ignore[arg-type]
    return tower.post_layernorm(x)


def _layer(layer: Layer, x: Tensor, mask: Tensor | None) -> Tensor:
    attention, (count, length, width) = layer.self_attn, x.shape
    y = layer.layer_norm1(x)
    q, k, v = (
        proj(y).view(count, length, attention.heads, -1).transpose(1, 2)
        for proj in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1, dtype=torch.promote_types(torch.float32, q.dtype)).to(q.dtype)
    x = x + attention.out_proj((weights @ v).transpose(1, 2).reshape(count, length, width))
    return x + layer.mlp(layer.layer_norm2(x))


def padded_resampler(
    module: Resampler, features: Sequence[Tensor], sizes: Sequence[tuple[int, int]], packages: Sequence[Sequence[int]]
) -> Tensor:
    """Features ``[L, d]`` of each view -> ``[G, Q, D]``, every package padded to the longest."""
    width = module.query.shape[1]
    lengths = torch.tensor([len(view) for view in features])
    values = module.ln_kv(module.kv_proj(pad_sequence(list(features), batch_first=True)))  # [V, Lmax, D]
    terms = pad_sequence([position_terms([size], width) for size in sizes], batch_first=True).to(values)
    ticks = [tick for package in packages for tick in package]
    keys = values + terms + temporal_terms(ticks, width)[:, None].to(values)
    padding = torch.arange(values.shape[1])[None] >= lengths[:, None]  # [V, Lmax]
    counts = [len(package) for package in packages]
    grouped = [
        pad_sequence([part.flatten(0, 1) for part in tensor.split(counts)], batch_first=True, padding_value=fill)
        for tensor, fill in ((keys, 0.0), (values, 0.0))
    ]
    masked = pad_sequence([p.flatten() for p in padding.split(counts)], batch_first=True, padding_value=True)
    query = module.ln_q(module.query)[:, None].expand(-1, len(packages), -1)
    keys, values = (tensor.transpose(0, 1) for tensor in grouped)
    out, _ = module.attn(query, keys, values, key_padding_mask=masked, need_weights=False)
    return module.ln_post(out.transpose(0, 1)) @ module.proj
