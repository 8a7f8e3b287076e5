"""A grey page with colours on it, kept as JPEG stores it with halved colours (4:2:0): full brightness, and two colour
differences for every square of four pixels. A coloured mark then costs its own pixels, not those of the page.

Y'CbCr as in JFIF 1.02 (ITU-R BT.601, full range): Y = 0.299 R + 0.587 G + 0.114 B, Cb = 128 + 0.564 (B - Y),
Cr = 128 + 0.713 (R - Y).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.corruption.marks import COLOUR, Mark

Plane = NDArray[np.uint8]
_WEIGHTS = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32)


class Planes(NamedTuple):
    """``luma`` [H, W]; ``blue`` and ``red`` [ceil(H / 2), ceil(W / 2)], 128 where there is no colour."""

    luma: Plane
    blue: Plane
    red: Plane

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*self.luma.shape, 3)  # type: ignore[return-value]


def split(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int16], ...]:
    """Y, Cb - 128 and Cr - 128 [h, w] of pixels [h, w, 3]."""
    return tuple(np.rint(pixels @ row).astype(np.int16) for row in _WEIGHTS)


def merge(planes: Planes) -> NDArray[np.uint8]:
    """The pixels [H, W, 3], each square of four with one colour difference."""
    luma = planes.luma.astype(np.float32)
    height, width = luma.shape
    blue, red = (
        np.repeat(np.repeat(half, 2, axis=0), 2, axis=1)[:height, :width].astype(np.float32) - 128
        for half in (planes.blue, planes.red)
    )
    pixels = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=2)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


_MARK = [int(part) for part in (plane[0, 0] for plane in split(np.array([[COLOUR]], dtype=np.uint8)))]
_TINT = np.array(_MARK[1:], dtype=np.int16)[:, None, None]


class HalvedPage:
    """Takes a grey page [H, W, 1], of which it makes a copy, and what is to lie on it, one over the other."""

    def __init__(self, page: NDArray[np.uint8]) -> None:
        self._luma = page[:, :, 0].copy()
        self._colours: NDArray[np.uint8] | None = None  # [2, h, w]: blue and red

    def paste(self, x: int, y: int, pixels: NDArray[np.uint8]) -> None:
        """Pixels [h, w, 1 or 3] with the upper left corner at (x, y)."""
        height, width, channels = pixels.shape
        if channels == 1:
            self._luma[y : y + height, x : x + width] = pixels[:, :, 0]
            return
        luma, *colours = split(pixels)
        self._luma[y : y + height, x : x + width] = luma
        self._blend(x, y, (height, width), _sums(np.stack(colours), y % 2, x % 2))

    def mark(self, x: int, y: int, cells: Mark) -> None:
        """A mark: its colour where ``cells`` [h, w] is true, else white."""
        height, width = cells.shape
        if cells.strides == (0, 0):  # one piece of frame
            self._luma[y : y + height, x : x + width] = _MARK[0]
            self._blend(x, y, (height, width), None)
            return
        self._luma[y : y + height, x : x + width] = np.where(cells, np.uint8(_MARK[0]), np.uint8(255))
        self._blend(x, y, (height, width), _sums(cells[None].astype(np.int16), y % 2, x % 2) * _TINT)

    def picture(self) -> NDArray[np.uint8] | Planes:
        """[H, W, 1] as long as nothing with a colour lies on it."""
        return self._luma[:, :, None] if self._colours is None else Planes(self._luma, *self._colours)

    def _blend(self, x: int, y: int, size: tuple[int, int], sums: NDArray[np.int16] | None) -> None:
        """Colour differences of an area, summed over squares of four (None: those of the marks). A square keeps of its
        own mean what is not covered: exact, unless several things meet in one square."""
        if self._colours is None:
            sides = [-(-side // 2) for side in self._luma.shape]
            self._colours = np.full((2, *sides), 128, dtype=np.uint8)
        covered = _covered(y, size[0])[:, None] * _covered(x, size[1])
        rows, columns = covered.shape
        place = self._colours[:, y // 2 : y // 2 + rows, x // 2 : x // 2 + columns]
        kept = (place.astype(np.int16) - 128) * (4 - covered)
        kept += covered * _TINT if sums is None else sums
        kept += 514  # 128 and a half, four times
        place[:] = kept // 4


def _covered(start: int, length: int) -> NDArray[np.int16]:
    """How many of its two pixels each pair covers that ``start`` to ``start`` + ``length`` - 1 touch."""
    pairs = np.full((start + length + 1) // 2 - start // 2, 2, dtype=np.int16)
    pairs[0] -= start % 2
    pairs[-1] -= (start + length) % 2
    return pairs


def _sums(values: NDArray[np.int16], top: int, left: int) -> NDArray[np.int16]:
    """Sums over squares of four of values [n, h, w] that begin ``top`` rows and ``left`` columns (0 or 1) inside a
    square."""
    _, height, width = values.shape
    tile = np.pad(values, ((0, 0), (top, (top + height) % 2), (left, (left + width) % 2)))
    rows = tile[:, 0::2] + tile[:, 1::2]
    return rows[:, :, 0::2] + rows[:, :, 1::2]
