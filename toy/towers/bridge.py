"""The bridge between two pretrained towers: a linear map from patch features to token embeddings, by least squares.

Where a glyph sheet says which character a patch holds, the decoder has an embedding for that character; the bridge is
the ridge solution of ``features @ bridge = embeddings``. A resampler that starts from it writes roughly what the decoder
would have read as text (``toy.towers.reading``).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from toy.towers.language import blend

BLANK_WEIGHT = 0.2


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
    normed = torch.nn.functional.normalize(embeddings, dim=1)
    guess = (torch.nn.functional.normalize(features @ bridge, dim=1) @ normed.T).argmax(1)
    glyph = tokens[:, 0] != blank
    return (guess == tokens[:, 0])[glyph].float().mean().item()
