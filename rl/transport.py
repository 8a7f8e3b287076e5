"""Weights on the way from the learner to the engines: one buffer of bytes and one layout. The buffer enters the object
store once; every engine maps it and copies it into its own tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.core.errors import InfraError
from rl.proof import digest, fingerprint
from rl.records import PolicyVersion


@dataclass(frozen=True)
class Entry:
    """One tensor's place in the buffer: bytes ``[start, stop)``."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Weights:
    """What one version of the policy is: ``flat`` uint8 [N] and where each tensor lies in it."""

    version: PolicyVersion
    layout: tuple[Entry, ...]
    flat: np.ndarray


def flatten(step: int, tensors: Mapping[str, torch.Tensor]) -> Weights:
    """Copy the tensors into one buffer, in the order of their names, each in the type it has."""
    layout, pieces, digests, start = [], [], [], 0
    for name in sorted(tensors):
        tensor = tensors[name]
        pieces.append(_bytes(tensor))
        layout.append(Entry(name, tensor.dtype, tuple(tensor.shape), start, start + len(pieces[-1])))
        digests.append((name, _digest(tensor)))
        start = layout[-1].stop
    return Weights(PolicyVersion(step, fingerprint(digests)), tuple(layout), np.concatenate(pieces))


@torch.no_grad()
def load_into(module: torch.nn.Module, weights: Weights) -> None:
    """Copy the buffer into the module's tensors, in place. Raises InfraError when a name, type or shape does not
    fit."""
    own = _named(module)
    for entry in weights.layout:
        there = own.get(entry.name)
        if there is None or (there.dtype, tuple(there.shape)) != (entry.dtype, entry.shape):
            found = "no such tensor" if there is None else f"{there.dtype} {tuple(there.shape)}"
            raise InfraError(
                f"weights do not fit the engine: {entry.name} is {entry.dtype} {entry.shape} at the learner, "
                f"here {found}"
            )
        piece = weights.flat[entry.start : entry.stop].copy()  # the mapped buffer is read-only, torch wants another
        there.copy_(torch.from_numpy(piece).view(entry.dtype).reshape(entry.shape))


def fingerprint_of(module: torch.nn.Module, layout: Iterable[Entry]) -> str:
    """Fingerprint of what the module holds now under the names of a layout."""
    own = _named(module)
    return fingerprint((entry.name, _digest(own[entry.name])) for entry in layout)


def _named(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Also the second name of a tied tensor."""
    return dict(module.named_parameters(remove_duplicate=False))


def _digest(tensor: torch.Tensor) -> str:
    return digest(_bytes(tensor), str(tensor.dtype), tuple(tensor.shape))


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
