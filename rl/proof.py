"""The proof that weights arrived: a digest of every tensor as it travels, and of all of them together. An engine digests
*its own memory*, so a sync that did not happen, or half happened, shows before a single token is sampled."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from pipelines.core.errors import InfraError
from rl.records import PolicyVersion


def digest(data: np.ndarray, dtype: str, shape: tuple[int, ...]) -> str:
    """blake2b-128 over type, shape and bytes (``data`` uint8 [N]) of one tensor, in the type in which it travels: what
    was rounded on the way to a bfloat16 engine is rounded on both sides."""
    state = hashlib.blake2b(f"{dtype}{shape}".encode(), digest_size=16)
    state.update(data.data)
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
