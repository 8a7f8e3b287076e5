"""Tensors of a folder or file, memory-mapped: a shard costs memory only where its tensors are used.

Understood are the layouts the Hugging Face hub knows: ``model.safetensors``, shards with ``model.safetensors.index.json``,
and the older ``pytorch_model.bin`` (with or without index), which is only ever read with ``weights_only``: a checkpoint
is data and must not run code.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipelines.core.errors import DataError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_LAYOUTS = ((WEIGHTS, INDEX), ("pytorch_model.bin", "pytorch_model.bin.index.json"))


def read_weights(directory: str | Path) -> dict[str, Tensor]:
    """All tensors of a folder. Raises DataError for a missing or damaged file, or an index that points elsewhere."""
    folder = Path(directory)
    state: dict[str, Tensor] = {}
    for name in _files(folder):
        state.update(read_file(folder / name))
    return state


def read_file(path: Path) -> dict[str, Tensor]:
    """All tensors of one ``.safetensors`` or ``.bin`` file. Raises DataError when it is missing or damaged."""
    if not path.is_file():
        raise DataError("a weights file is missing", where=str(path))
    try:
        if path.suffix == ".bin":
            return dict(torch.load(path, map_location="cpu", mmap=True, weights_only=True))
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError("a weights file cannot be read", where=str(path), why=str(error), do="copy it again") from error


def _files(folder: Path) -> list[str]:
    for whole, index in _LAYOUTS:
        if (folder / whole).is_file():
            return [whole]
        if (folder / index).is_file():
            try:
                names = sorted(set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values()))
            except (ValueError, KeyError) as error:
                raise DataError("the index of the weights cannot be read", where=str(folder / index)) from error
            outside = [name for name in names if Path(name).name != name]
            if outside:
                raise DataError(f"the index names {outside[0]!r}", where=str(folder / index), why="it lies elsewhere")
            return names
    return [WEIGHTS]
