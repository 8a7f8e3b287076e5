"""Where a long video is cut into clips: at fixed lengths, or where the picture changes. Nothing is decoded here.

A scene change is a jump of the colour histogram between neighbouring frames: half the sum of absolute differences of
512 bins, 0 for the same colours, 1 for none in common. Hard cuts give 0.4 and more; fades and dissolves are missed, so
``seconds`` bounds a scene too.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np

By = Literal["none", "length", "scenes"]


def histogram(picture: np.ndarray) -> np.ndarray:
    """Shares (512,) of the colours of an RGB picture (height, width, 3) uint8, 8 steps a channel."""
    coarse = (picture >> 5).astype(np.uint16)
    bins = (coarse[..., 0] << 6) | (coarse[..., 1] << 3) | coarse[..., 2]
    return np.bincount(bins.ravel(), minlength=512) / bins.size


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Distance of two histograms, 0 to 1."""
    return float(np.abs(before - after).sum() / 2)


class Splitter:
    """Says frame by frame whether a new clip begins. ``seconds`` is the length (``length``) or the longest scene
    (``scenes``); a scene is cut by its change only after ``shortest`` seconds."""

    def __init__(self, by: By, seconds: Fraction, shortest: Fraction, threshold: float) -> None:
        self.by, self.seconds, self.shortest, self.threshold = by, seconds, shortest, threshold
        self._start: Fraction | None = None
        self._colours: np.ndarray | None = None

    def begins(self, at: Fraction, picture: np.ndarray | None = None) -> bool:
        """Whether the frame at ``at`` (seconds) opens a clip; the first one does. ``picture`` is a small RGB copy of
        it, needed for scenes."""
        colours = histogram(picture) if self.by == "scenes" and picture is not None else None
        jump = change(self._colours, colours) if self._colours is not None and colours is not None else 0.0
        self._colours = colours
        if self._start is None:
            self._start = at
            return True
        length = at - self._start
        if self.by == "length" and length >= self.seconds:
            self._start += (length / self.seconds).__floor__() * self.seconds
            return True
        if self.by == "scenes" and (length >= self.seconds or (jump > self.threshold and length >= self.shortest)):
            self._start = at
            return True
        return False
