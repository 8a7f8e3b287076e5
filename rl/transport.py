"""Weights on the way from the learner to the engines: one flat buffer, one layout, and a proof that they arrived.

The learner flattens what it trains into one float32 array, which is put into the object store once; every engine maps
that array and copies it into its own tensors. Then each engine digests *its own memory*: a sync that did not happen, or
half happened, shows as a fingerprint that differs, before a single token is sampled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.core.errors import InfraError
from rl.records import PolicyVersion


@dataclass(frozen=True)
class Entry:
    """One tensor's place in the buffer: elements ``[start, start + count)``."""

    name: str
    shape: tuple[int, ...]
    start: int
    count: int


@dataclass(frozen=True)
class Weights:
    """What one version of the policy is: ``flat`` float32 [N] and where each tensor lies in it."""

    version: PolicyVersion
    layout: tuple[Entry, ...]
    flat: np.ndarray


def fingerprint(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """blake2b-128 over name, shape and float32 bytes of each tensor, in the order of their names."""
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        array = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        state.update(f"{name}{array.shape}".encode())
        state.update(array.data if array.ndim else array.tobytes())
    return state.hexdigest()


def flatten(step: int, tensors: Mapping[str, torch.Tensor]) -> Weights:
    """Copy the tensors into one buffer, in the order of their names."""
    layout, start = [], 0
    for name in sorted(tensors):
        count = tensors[name].numel()
        layout.append(Entry(name, tuple(tensors[name].shape), start, count))
        start += count
    flat = np.empty(start, dtype=np.float32)
    for entry in layout:
        source = tensors[entry.name].detach().to("cpu", torch.float32).reshape(-1)
        flat[entry.start : entry.start + entry.count] = source.numpy()
    return Weights(PolicyVersion(step, fingerprint(tensors.items())), tuple(layout), flat)


@torch.no_grad()
def load_into(module: torch.nn.Module, weights: Weights) -> None:
    """Copy the buffer into the module's tensors, in place. Raises InfraError when a name or shape does not fit."""
    own = dict(module.named_parameters())
    for entry in weights.layout:
        if entry.name not in own or tuple(own[entry.name].shape) != entry.shape:
            found = tuple(own[entry.name].shape) if entry.name in own else "no such tensor"
            raise InfraError(
                f"weights do not fit the engine: {entry.name} is {entry.shape} at the learner, here {found}"
            )
        piece = weights.flat[entry.start : entry.start + entry.count]
        source = torch.from_numpy(piece.copy())  # the mapped buffer is read-only, torch wants a writable one
        own[entry.name].copy_(source.reshape(entry.shape))


def fingerprint_of(module: torch.nn.Module, layout: Iterable[Entry]) -> str:
    """Digest of what the module holds now under the names of a layout."""
    own = dict(module.named_parameters())
    return fingerprint((entry.name, own[entry.name]) for entry in layout)
