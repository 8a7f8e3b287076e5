"""Random draws come from what is drawn for, never from a worker index, a clock or a retry.

``generator(run_seed, source_digest, page, view)`` gives the same stream on every machine. The bit generator is pinned
to PCG64 because NumPy may change its default.
"""

from __future__ import annotations

import hashlib

import numpy as np

from pipelines.core.canonical import canonical_json


def seed_of(*parts: str | int) -> int:
    return int.from_bytes(hashlib.sha256(canonical_json(list(parts))).digest()[:16], "big")


def generator(*parts: str | int) -> np.random.Generator:
    """A PCG64 generator seeded from the parts (about 13 microseconds)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed_of(*parts))))


def unit_interval(*parts: str | int) -> float:
    """A number in [0, 1) that is a pure function of the parts; used for splits and sampling decisions."""
    return (seed_of(*parts) >> 75) / float(1 << 53)


def split_of(source_digest: str, split_seed: int) -> str:
    """``train``, ``val`` or ``test`` from hash(source digest, split seed), before any other stage sees the source: a
    twentieth each is held out."""
    u = unit_interval("split", split_seed, source_digest)
    return "test" if u < 0.05 else "val" if u < 0.1 else "train"
