"""The bridge between two pretrained towers: a linear map from patch features to token embeddings, by least squares.

Where a glyph sheet says which character a patch holds, the decoder has an embedding for that character; the bridge is
the ridge solution of ``features @ bridge = embeddings``. A resampler that starts from it writes roughly what the decoder
would have read as text, so pretraining refines a reading instead of discovering that pictures matter (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from toy.towers.language import blend


class RidgeFit:
    """Accumulates ``X^T X`` and ``X^T Y`` so that sheets need not be held. ``ridge`` is relative to the mean of the
    diagonal of ``X^T X``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.xx = torch.zeros(inputs, inputs, dtype=torch.float64)
        self.xy = torch.zeros(inputs, outputs, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor, weight: Tensor) -> None:
        """Rows ``x [n, inputs]``, ``y [n, outputs]`` with weights ``[n]``."""
        weighted = x.double() * weight.double()[:, None]
        self.xx += weighted.T @ x.double()
        self.xy += weighted.T @ y.double()

    def solve(self, ridge: float) -> Tensor:
        """``[inputs, outputs]`` float32."""
        eye = torch.eye(len(self.xx), dtype=torch.float64)
        return torch.linalg.solve(self.xx + ridge * self.xx.diagonal().mean() * eye, self.xy).float()


def fit_bridge(
    sheets: Iterable[tuple[Tensor, Tensor]], embeddings: Tensor, blank: int, ridge: float, blank_weight: float = 0.2
) -> Tensor:
    """Bridge ``[patch width, decoder width]`` from batches of (features ``[n, patch width]``, token ids ``[n, slots]``);
    the target of a patch is the blend of its tokens, as the decoder learned them.

    Patches whose first token is ``blank`` are many and weigh ``blank_weight``. Embeddings ``[vocabulary, decoder
    width]``.
    """
    fit: RidgeFit | None = None
    for features, tokens in sheets:
        fit = fit or RidgeFit(features.shape[1], embeddings.shape[1])
        fit.add(features, blend(embeddings, tokens), torch.where(tokens[:, 0] == blank, blank_weight, 1.0))
    if fit is None:
        raise ValueError("no sheets to fit the bridge on")
    return fit.solve(ridge)


def nearest_token_share(bridge: Tensor, features: Tensor, tokens: Tensor, embeddings: Tensor, blank: int) -> float:
    """Share of glyph patches whose mapped feature is nearest (cosine) to the embedding of their first token."""
    normed = torch.nn.functional.normalize(embeddings, dim=1)
    guess = (torch.nn.functional.normalize(features @ bridge, dim=1) @ normed.T).argmax(1)
    glyph = tokens[:, 0] != blank
    return (guess == tokens[:, 0])[glyph].float().mean().item()
