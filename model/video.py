"""Which frames of a video, at which ticks, in packages of how many. Pure arithmetic (paper.md 2.8).

A tick is 0.1 s. The released demo truncates where float error falls short of a grid point (about 4 % of its
ticks are one too low); here they are rounded. Frames are taken at the centres of equal segments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.core.errors import DataError

TICKS_PER_SECOND = 10


@dataclass(frozen=True)
class VideoPlan:
    """``frames``: indices into the file; ``ticks``: their times in 0.1 s; ``packing``: frames per package."""

    frames: tuple[int, ...]
    ticks: tuple[int, ...]
    packing: int

    @property
    def packages(self) -> tuple[tuple[int, ...], ...]:
        return group_ticks(self.ticks, self.packing)


def tick_of(seconds: float) -> int:
    """The nearest tick: ``floor(10 * seconds + 1/2)``."""
    return math.floor(seconds * TICKS_PER_SECOND + 0.5)


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
        raise DataError(f"ticks of a video must rise from 0 on, but are {_short(ticks)}", why="frames out of order")
    if packages > most:
        raise DataError(
            f"a video of {packages} packages, but the model takes {most}",
            do="sample fewer frames or use larger packages",
        )


def plan_frames(
    count: int,
    native_fps: float,
    duration: float,
    fps: float = 3.0,
    *,
    max_packing: int = 3,
    force_packing: int | None = None,
    max_packages: int = 180,
) -> VideoPlan:
    """Sample a file of ``count`` frames and ``duration`` seconds at about ``fps`` frames per second.

    A short clip goes frame by frame; a longer one in packages, as large as needed and at most ``max_packing``; beyond
    that the rate falls. As in the released sampler the limit is tested on whole seconds, so the last fraction of one
    may add packages. Raises DataError when not one frame would be taken.
    """
    whole = int(duration)
    if count < 1 or native_fps <= 0 or duration <= 0:
        raise DataError(f"a video of {count} frames, {native_fps} fps, {duration} s cannot be sampled")
    if fps * whole <= max_packages:
        packing = 1
        wanted = round(min(fps, round(native_fps)) * min(max_packages, duration))
    else:
        packing = math.ceil(duration * fps / max_packages)
        if packing <= max_packing:
            wanted = round(duration * fps)
        else:
            wanted, packing = round(max_packages * max_packing), max_packing
    if force_packing is not None:
        packing = min(force_packing, max_packing)
    if wanted < 1:
        raise DataError(f"a clip of {duration} s is too short for one frame at {fps} fps", do="raise the frame rate")
    gap = count / wanted
    frames = tuple(min(int(index * gap + gap / 2), count - 1) for index in range(wanted))
    last = max(math.ceil(duration * TICKS_PER_SECOND) - 1, 0)
    return VideoPlan(frames, tuple(min(tick_of(frame / native_fps), last) for frame in frames), packing)


def _short(values: Sequence[int]) -> str:
    shown = ", ".join(map(str, values[:8]))
    return f"{shown}, ..." if len(values) > 8 else shown
