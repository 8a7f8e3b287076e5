"""Frames of a video in packages, each frame at its tick of 0.1 s (paper.md 2.8)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pipelines.core.errors import DataError

TICKS_PER_SECOND = 10


def group_ticks(ticks: Sequence[int], packing: int) -> tuple[tuple[int, ...], ...]:
    """Packages of ``packing`` frames; the last may be shorter. ``group_ticks((0, 3, 7), 2) == ((0, 3), (7,))``."""
    return tuple(tuple(ticks[start : start + packing]) for start in range(0, len(ticks), packing))


def check_ticks(ticks: Sequence[int], frames: int, packages: int, most: int) -> None:
    """Raises DataError for no frames, a tick too few or too many, ticks that do not rise, or too many packages."""
    if frames == 0:
        raise DataError("a video part has no frames", do="drop the clip or sample it again")
    if len(ticks) != frames:
        raise DataError(f"a video part has {frames} frames but {len(ticks)} ticks")
    if ticks[0] < 0 or any(b < a for a, b in pairwise(ticks)):
        raise DataError(f"ticks of a video must rise from 0 on, but are {list(ticks[:8])}", why="frames out of order")
    if packages > most:
        raise DataError(
            f"a video of {packages} packages, but the model takes {most}",
            do="sample fewer frames or use larger packages",
        )
