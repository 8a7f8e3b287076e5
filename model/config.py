"""Sizes and settings of a model, frozen: one record from which every module, the processor and ``config.json`` follow.

``from_released`` reads the configuration file of the published 4.5 checkpoint (flat language fields, nested
``vision_config`` and ``slice_config``); ``to_released`` writes the same layout, so what we train opens in the released
code. Fields the published layout has no place for go under one key, ``cookhouse``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from pipelines.core.errors import ConfigError
from pipelines.core.identity import Record

OWN_KEY = "cookhouse"


class LanguageConfig(Record):
    """The Qwen3 decoder. Widths in channels, ``max_position_embeddings`` in tokens."""

    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    vocab_size: int = Field(gt=0)
    max_position_embeddings: int = 40960
    rope_theta: float = 1_000_000.0
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    bos_token_id: int = 0
    eos_token_id: int = 0

    @model_validator(mode="after")
    def _heads_fit(self) -> LanguageConfig:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("num_attention_heads must be a multiple of num_key_value_heads")
        return self


class VisionConfig(Record):
    """The NaViT tower. ``image_size`` in pixels fixes the side of the learned position table (980 / 14 = 70)."""

    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    image_size: int = 980
    patch_size: int = 14
    layer_norm_eps: float = 1e-6

    @model_validator(mode="after")
    def _heads_fit(self) -> VisionConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("vision hidden_size must be a multiple of num_attention_heads")
        return self

    @property
    def grid(self) -> int:
        """Side of the position table in cells."""
        return self.image_size // self.patch_size

    @property
    def patch_dim(self) -> int:
        """Numbers in one patch: 3 * P * P."""
        return 3 * self.patch_size**2


class SliceConfig(Record):
    """LLaVA-UHD slicing: a view has about ``scale_resolution`` squared pixels; at most ``max_slice_nums`` slices
    beside the thumbnail (1 = never slice)."""

    scale_resolution: int = Field(default=448, ge=14)
    patch_size: int = 14
    max_slice_nums: int = Field(default=9, ge=1)


class ModelConfig(Record):
    """Everything that decides the shape of the model and what the processor feeds it."""

    language: LanguageConfig
    vision: VisionConfig
    slicing: SliceConfig = SliceConfig()
    query_num: int = Field(default=64, gt=0)
    use_image_id: bool = True
    max_packages: int = Field(default=180, gt=0)  # visual packages in one video (paper.md 2.8)
    max_package_frames: int = Field(default=6, ge=1)

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelConfig:
        if self.language.hidden_size % 128:
            raise ValueError(
                "language hidden_size must be a multiple of 128: the resampler has hidden_size / 128 heads"
            )
        if self.vision.patch_size != self.slicing.patch_size:
            raise ValueError("vision.patch_size and slicing.patch_size differ")
        return self

    @classmethod
    def from_released(cls, data: Mapping[str, Any]) -> ModelConfig:
        """From the published ``config.json``. Raises ConfigError for settings we do not have (a rope scaling, for one)."""
        refused = {"rope_scaling": None, "attention_bias": False, "use_sliding_window": False, "hidden_act": "silu"}
        for name, only in refused.items():
            if data.get(name, only) != only:
                raise ConfigError(
                    f"{name} = {data[name]!r} is not supported", where="config.json", do=f"only {only!r} is"
                )
        if data.get("drop_vision_last_layer", True):
            raise ConfigError(
                "the tower's last layer would be dropped",
                where="config.json: drop_vision_last_layer",
                why="a missing value means true in the released class; version 4.5 keeps all layers",
                do="set drop_vision_last_layer to false",
            )
        if missing := [name for name in ("hidden_size", "vocab_size", "vision_config") if name not in data]:
            raise ConfigError(
                f"config.json lacks {', '.join(missing)}", do="give the folder of a MiniCPM-V 4.5 checkpoint"
            )
        own = dict(data.get(OWN_KEY, {}))
        parts = {
            "language": _known(LanguageConfig, data),
            "vision": _known(VisionConfig, data["vision_config"]) | own.pop("vision", {}),
            "slicing": _known(SliceConfig, data.get("slice_config", {})) | own.pop("slicing", {}),
        }
        return cls(**_known(cls, data), **parts, **own)

    def to_released(self) -> dict[str, Any]:
        vision = self.vision.model_dump()
        norm_eps = vision.pop("layer_norm_eps")
        return {
            "version": 4.5,
            "architectures": ["MiniCPMV"],
            "model_type": "minicpmv",
            **self.language.model_dump(),
            "attention_bias": False,
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "max_window_layers": self.language.num_hidden_layers,
            "rope_scaling": None,
            "sliding_window": None,
            "use_sliding_window": False,
            "use_cache": True,
            "torch_dtype": "float32",
            "batch_vision_input": True,
            "batch_3d_resampler": True,
            "drop_vision_last_layer": False,
            "image_size": self.slicing.scale_resolution,
            "patch_size": self.vision.patch_size,
            "query_num": self.query_num,
            "slice_mode": self.slicing.max_slice_nums > 1,
            "slice_config": {**self.slicing.model_dump(), "model_type": "minicpmv"},
            "use_image_id": self.use_image_id,
            "vision_config": {**vision, "model_type": "siglip"},
            OWN_KEY: {
                "vision": {"layer_norm_eps": norm_eps},
                "max_packages": self.max_packages,
                "max_package_frames": self.max_package_frames,
            },
        }


def _known(record: type[Record], data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in record.model_fields if name in data}
