"""Near-duplicate files by MinHash of the text layer (datasketch): which file says nearly the same as an earlier one.

A file is one set of five-word pieces (every Chinese or Japanese character counts as a word). Signatures are made in the
workers; grouping is one pass in name order over a few hundred bytes a file, so it depends on nothing but the texts.
Beyond some ten million files use a cluster tool first (docs/scale.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Signature = NDArray[np.uint32]

PERMUTATIONS = 128
SEED = 1
SCHEME = "affine32"  # 32-bit values; datasketch 2
PIECE = 5  # words
MAX_PAGES = 30  # the start of a long file stands for it
MIN_PIECES = 20  # less text says too little: such files are never near-duplicates
_WORD = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|\w+")


class Match(NamedTuple):
    """The first file of the group and the estimated Jaccard similarity to it (0-1)."""

    first: str
    similarity: float


def sign(text: str) -> Signature | None:
    """Signature [PERMUTATIONS] of a text, None when it has fewer than ``MIN_PIECES`` pieces."""
    words = _WORD.findall(text.casefold())
    pieces = {" ".join(words[at : at + PIECE]).encode() for at in range(len(words) - PIECE + 1)}
    if len(pieces) < MIN_PIECES:
        return None
    from datasketch import MinHash

    made = MinHash(num_perm=PERMUTATIONS, seed=SEED, scheme=SCHEME)
    made.update_batch(sorted(pieces))
    return made.hashvalues.astype(np.uint32)


def find_matches(signatures: Mapping[str, Signature], least: float) -> dict[str, Match]:
    """File -> its match, for every file that is similar to an earlier one (by name) by at least ``least``.

    A file joins the group of the earliest similar file, and that file's group in turn: near-duplicates of
    near-duplicates share one first file."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=least, num_perm=PERMUTATIONS)
    matches: dict[str, Match] = {}
    for name in sorted(signatures):
        own = signatures[name]
        probe = MinHash(num_perm=PERMUTATIONS, seed=SEED, scheme=SCHEME, hashvalues=own)
        found = []
        for other in sorted(index.query(probe)):
            similarity = float(np.mean(own == signatures[other]))
            if similarity >= least:
                found.append(Match(other, round(similarity, 3)))
        if found:
            best = found[0]
            matches[name] = Match(matches[best.first].first if best.first in matches else best.first, best.similarity)
        index.insert(name, probe)
    return matches
