"""What a sample costs, from its manifest row alone: nothing is decoded before it is planned.

Costs are *work tokens*: sequence tokens plus ``patch_cost`` times encoder patches, where ``patch_cost`` is what a patch
costs in the tower relative to a token in the language model. Full packs are therefore near-equal work for all ranks,
whatever they hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.config import ModelConfig
from model.training.order import Item


@dataclass(frozen=True)
class Geometry:
    """``queries``: visual tokens of a view or package. ``view_patches``: patches of one view (every view is scaled to
    about ``scale_resolution`` squared pixels). ``patch_cost``: tower work of a patch / language work of a token.
    ``bytes_per_token``: of the tokenizer, about 3.5 for Qwen's vocabulary, 1 for raw bytes."""

    queries: int
    scale_resolution: int
    view_patches: int
    max_slice_nums: int
    patch_cost: float
    bytes_per_token: float = 1.0

    @classmethod
    def of(cls, config: ModelConfig, bytes_per_token: float = 1.0) -> Geometry:
        """Multiply-adds per patch and per token follow from the widths (attention scores left out: they are small)."""
        tower, language = config.vision, config.language
        per_patch = tower.num_hidden_layers * (
            4 * tower.hidden_size**2 + 2 * tower.hidden_size * tower.intermediate_size
        )
        heads = language.num_attention_heads + language.num_key_value_heads
        per_layer = language.hidden_size * (2 * heads * language.head_dim + 3 * language.intermediate_size)
        return cls(
            queries=config.query_num,
            scale_resolution=config.slicing.scale_resolution,
            view_patches=max(1, round((config.slicing.scale_resolution / config.slicing.patch_size) ** 2)),
            max_slice_nums=config.slicing.max_slice_nums,
            patch_cost=per_patch / (language.num_hidden_layers * per_layer),
            bytes_per_token=bytes_per_token,
        )

    def cost(self, item: Item) -> int:
        """Work tokens of a sample: an estimate, not a bound (the true lengths are known after encoding)."""
        ref = item.ref
        frames = math.ceil(ref.frames / item.stride)
        images = ref.views - ref.frames
        views = images * self._views(ref.width, ref.height) + frames
        packages = math.ceil(frames / item.package) if item.package else frames
        groups = images * self._views(ref.width, ref.height) + packages
        tokens = groups * (self.queries + 3) + images * 3 + self._text(ref.text_bytes)
        return tokens + math.ceil(views * self.view_patches * self.patch_cost)

    def _text(self, size: int) -> int:
        """Tokens of ``size`` bytes and the frame of one question and answer: 8 control tokens, 24 letters."""
        return math.ceil((size + 24) / self.bytes_per_token) + 8

    def _views(self, width: int, height: int) -> int:
        """Thumbnail plus slices of one image (about: the best grid may have one slice more or less)."""
        ideal = math.ceil(width * height / self.scale_resolution**2)
        slices = min(ideal, self.max_slice_nums)
        return 1 if slices <= 1 else 1 + slices
