"""Weights on the way from the learner to the engines: one buffer of bytes and one layout. The buffer enters the object
store once; every engine maps it and copies it into its own tensors.

The proof that they arrived is a digest of every tensor as it travels, and of all of them together. An engine digests *its
own memory*, so a sync that did not happen, or half happened, shows before a single token is sampled.
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
        digests.append((name, digest(tensor)))
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
    return fingerprint((entry.name, digest(own[entry.name])) for entry in layout)


def _named(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Also the second name of a tied tensor."""
    return dict(module.named_parameters(remove_duplicate=False))


def digest(tensor: torch.Tensor) -> str:
    """blake2b-128 over type, shape and bytes of one tensor, in the type in which it travels: what was rounded on the way to
    a bfloat16 engine is rounded on both sides."""
    state = hashlib.blake2b(f"{tensor.dtype}{tuple(tensor.shape)}".encode(), digest_size=16)
    state.update(_bytes(tensor).data)
    return state.hexdigest()


def fingerprint(digests: Iterable[tuple[str, str]]) -> str:
    """One digest of (name, digest) pairs, in the order of the names."""
    return hashlib.blake2b(repr(sorted(digests)).encode(), digest_size=16).hexdigest()


def prove(expected: PolicyVersion, found: PolicyVersion, who: str) -> None:
    """Raise InfraError unless a worker holds exactly the weights that were published."""
    if expected != found:
        raise InfraError(
            f"{who} does not hold the published weights",
            why=f"published step {expected.step} {expected.fingerprint}, held step {found.step} {found.fingerprint}",
            do="the worker is replaced and its prompts are rolled again; if it comes back, check the machine's memory",
        )


def _bytes(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
