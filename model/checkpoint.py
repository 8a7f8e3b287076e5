"""Folders of weights in the released layout: config.json, model.safetensors, tokenizer, preprocessor_config.json.

Loading is strict (every name, every shape) and builds the model on the meta device first, so a checkpoint is held once
in memory. Sharded folders are read through their index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from model.config import ModelConfig
from model.minicpmv import MiniCPMV
from model.processor import Processor
from model.resampler import init_resampler
from model.starting import language_state, tower_state
from model.tokenizer import VISUAL, load_tokenizer
from model.vision import init_vision
from model.weights import WEIGHTS, read_file, read_weights
from pipelines.core.errors import ConfigError, DataError

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_HEAD, _EMBEDDING = "llm.lm_head.weight", "llm.model.embed_tokens.weight"


def save_model(directory: str | Path, model: MiniCPMV, processor: Processor) -> None:
    """Write the folder. Weights are renamed at the end: a killed save leaves no half file under the real name."""
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    save_weights(directory, state, model.config)
    processor.tokenizer.save_pretrained(Path(directory))


def save_weights(directory: str | Path, state: Mapping[str, Tensor], config: ModelConfig) -> None:
    """The folder without the tokenizer, from a gathered state dict (for engines that hold the weights in parts)."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = str(next(iter(state.values())).dtype).removeprefix("torch.")
    _write_json(folder / CONFIG, config.to_released() | {"torch_dtype": dtype})
    _write_json(folder / PREPROCESSOR, preprocessor(config))
    write_weights(folder / WEIGHTS, state, config)


def write_weights(file: Path, state: Mapping[str, Tensor], config: ModelConfig) -> None:
    """One safetensors file of all weights, whole or not at all; a tied head is its embedding and is not written."""
    tied = config.language.tie_word_embeddings
    kept = {name: t.detach().cpu().contiguous() for name, t in state.items() if not (tied and name == _HEAD)}
    draft = file.with_name(f"{file.name}.tmp")
    save_file(kept, draft, metadata={"format": "pt"})
    draft.replace(file)


def load_config(directory: str | Path) -> ModelConfig:
    """The configuration of a folder. Raises ConfigError when there is none or it is not readable."""
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise ConfigError(
            "no model found", where=str(path), do="give a folder that save_model wrote, or a released one"
        )
    try:
        return ModelConfig.from_released(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ConfigError("config.json does not describe a model", where=str(path), why=str(error)) from error


def load_model(directory: str | Path, dtype: torch.dtype = torch.float32) -> tuple[MiniCPMV, Processor]:
    """Model (evaluation mode) and processor of a folder, weights strictly by name and shape."""
    config = load_config(directory)
    model = empty_model(config)
    assign(model, read_weights(directory), dtype, str(directory))
    return model.eval(), Processor(config, load_tokenizer(directory))


def load_weights(config: ModelConfig, file: Path) -> MiniCPMV:
    """A model from one file of all its weights, in float32."""
    model = empty_model(config)
    assign(model, read_file(file), torch.float32, str(file))
    return model


def empty_model(config: ModelConfig) -> MiniCPMV:
    """The modules without memory (meta device)."""
    with torch.device("meta"):
        return MiniCPMV(config)


def assign(model: MiniCPMV, state: Mapping[str, Tensor], dtype: torch.dtype, where: str) -> None:
    """Fill an ``empty_model``. Raises DataError naming what is missing, unknown or of another shape."""
    given = {name: tensor.to(dtype) for name, tensor in state.items()}
    if model.config.language.tie_word_embeddings and _EMBEDDING in given:
        given[_HEAD] = given[_EMBEDDING]
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = sorted(wanted.keys() - given.keys())
    unknown = sorted(given.keys() - wanted.keys())
    shapes = [name for name in sorted(wanted.keys() & given.keys()) if tuple(given[name].shape) != wanted[name]]
    if missing or unknown or shapes:
        raise DataError(
            f"weights do not fit the model: {len(missing)} missing, {len(unknown)} unknown, {len(shapes)} misshapen",
            where=where,
            why=f"first: {', '.join((missing + unknown + shapes)[:3])}",
            do="check that config.json and the weights are of the same model",
        )
    model.load_state_dict(given, strict=True, assign=True)
    if model.config.language.tie_word_embeddings:
        model.llm.tie_weights()
    model.llm.model.rotary_emb = Qwen3RotaryEmbedding(model.llm.config)  # its buffers are not in any checkpoint
    model.requires_grad_(True)


def init_from_parts(
    config: ModelConfig,
    vision: str | Path | None = None,
    language: str | Path | None = None,
    start: str | Path | None = None,
    *,
    seed: int = 0,
) -> MiniCPMV:
    """The start of the recipe, in float32: a pretrained tower and language model, or neither (both from scratch), and a
    resampler from scratch; ``start`` holds any parameters under released names, put over all that.

    Files or folders; names as in our checkpoints or as SigLIP2 and Qwen3 publish them (``model/starting.py``).

    Raises ConfigError for one tower without the other."""
    if (vision is None) != (language is None):
        raise ConfigError(
            "a model starts from both a vision and a language file, or from neither",
            do="set `vision` and `language`, or leave both out to train from scratch",
        )
    state: dict[str, Tensor] = {}
    if vision is None or language is None:
        torch.manual_seed(seed)
        model = MiniCPMV(config)
        init_vision(model.vpm, torch.Generator().manual_seed(seed))
    else:
        model = empty_model(config)
        model.resampler.to_empty(device="cpu")
        state |= {f"vpm.{name}": tensor for name, tensor in tower_state(vision, config.vision).items()}
        state |= {f"llm.{name}": tensor for name, tensor in language_state(language, config.language).items()}
    init_resampler(model.resampler, torch.Generator().manual_seed(seed))
    state = {name: tensor for name, tensor in model.state_dict().items() if not tensor.is_meta} | state
    if start is not None:
        state |= read_file(Path(start))
    assign(model, state, torch.float32, ", ".join(str(file) for file in (vision, language, start) if file))
    return model


def preprocessor(config: ModelConfig) -> dict[str, Any]:
    """``preprocessor_config.json`` in the released layout."""
    names = ("unk", "im_start", "im_end", "slice_start", "slice_end", "im_id_start", "im_id_end")
    return {
        "image_processor_type": "MiniCPMVImageProcessor",
        "processor_class": "MiniCPMVProcessor",
        "max_slice_nums": config.slicing.max_slice_nums,
        "scale_resolution": config.slicing.scale_resolution,
        "patch_size": config.slicing.patch_size,
        "image_feature_size": config.query_num,
        "use_image_id": config.use_image_id,
        "slice_mode": config.slicing.max_slice_nums > 1,
        **dict(zip(names, VISUAL)),
        "norm_mean": [0.5, 0.5, 0.5],
        "norm_std": [0.5, 0.5, 0.5],
        "version": 2.6,
    }


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
