"""Pictures that look alike, by a perceptual hash: small changes of size, quality or brightness leave it nearly as it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

NEAR = 3
"""Bits of 64 that two pictures taken for one may differ in. Four bands of 16 bits find every such pair: three differing
bits leave one band alone."""
FLAT = 4
"""Fewer bits set than this say nothing: a plain surface of any colour has none."""


def likeness(image: Image.Image) -> int:
    """64 bits that change little when a picture changes little: is each cell of a 9x8 grey copy brighter than its
    right neighbour (difference hash)."""
    from PIL import Image as images

    grey = np.asarray(image.convert("L").resize((9, 8), images.Resampling.BOX), dtype=np.int16)
    return int("".join("01"[bool(bit)] for bit in (grey[:, :-1] > grey[:, 1:]).ravel()), 2)


def near_copies(marks: Iterable[tuple[str, int]]) -> dict[str, str]:
    """Name -> the earlier name it looks like. A copy of a copy names the first of them.

    >>> near_copies([("a", 0b11110000), ("b", 0b11110001), ("c", 0b1111000011110000)])
    {'b': 'a'}
    """
    first: dict[tuple[int, int], list[tuple[str, int]]] = {}
    found: dict[str, str] = {}
    for name, mark in marks:
        if mark.bit_count() < FLAT:
            continue
        bands = [(band, mark >> 16 * band & 0xFFFF) for band in range(4)]
        near = (one for band in bands for one, other in first.get(band, ()) if (mark ^ other).bit_count() <= NEAR)
        if (one := next(near, None)) is not None:
            found[name] = one
            continue
        for band in bands:
            first.setdefault(band, []).append((name, mark))
    return found
