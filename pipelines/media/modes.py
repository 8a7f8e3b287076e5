"""How much of a file has to be decoded for the frames that are wanted. Pure: a timeline of packets in, a mode out.

``all`` decodes every frame. ``nonref`` leaves out frames no other frame needs (a fifth of the time on 1080p H.264,
measured); a kept frame comes at most a few source frames late, and its tick says when. ``keyframes`` decodes the first
keyframe of each slot: right when they come at least as often as frames are wanted. ``seek`` jumps to the keyframe before
each wanted time and decodes from there: the same frames as ``all``, cheap when keyframes are near them.

Worked example: 3,000 frames at 25 a second, one wanted every 10 s, a keyframe every 4 s. ``all`` decodes 3,000 frames,
``keyframes`` 12, at their own times. ``seek`` decodes 12 times (frames since the keyframe + 4): 348 frames, more than a
sixteenth of all, so ``keyframes`` it is. With a keyframe every 2 s wanted times fall on keyframes, seeking decodes 48
frames, and being exact it is preferred.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

Mode = Literal["all", "nonref", "keyframes", "seek"]
Asked = Literal["auto", "all", "nonref", "keyframes", "seek"]

SPARSE_FRAMES, SPARSE_STRIDE = 1000, 8
"""Only long videos of which less than one frame in eight is wanted are worth another mode than ``all``."""
NONREF_COST = Fraction(1, 4)
EXACT_COST = Fraction(1, 16)
SEEK_COST = 4
"""Frames a seek costs beside those between keyframe and wanted time: the decoder's start and its delay."""


@dataclass(frozen=True)
class Timeline:
    """What the packets of a stream say without decoding: presentation times in seconds of the first and last frame,
    the number of packets, the times of keyframes in order."""

    start: Fraction
    end: Fraction
    packets: int
    keys: tuple[Fraction, ...]


def is_sparse(duration: Fraction | None, step: Fraction, rate: Fraction) -> bool:
    """Whether the stride makes decoding every frame wasteful. ``duration`` and ``step`` (one source frame) in seconds,
    ``rate`` in frames wanted a second."""
    return duration is not None and duration / step >= SPARSE_FRAMES and 1 / rate >= SPARSE_STRIDE * step


def choose_mode(line: Timeline, step: Fraction, rate: Fraction) -> Mode:
    """``seek`` where that decodes at most a sixteenth of the frames, else the mode that decodes fewest."""
    wanted = slots(line, rate)
    costs: dict[Mode, Fraction] = {"all": Fraction(line.packets), "nonref": line.packets * NONREF_COST}
    if line.keys:
        costs["seek"] = sum((seek_cost(line.keys, at, step) for at in wanted), Fraction(0))
        if costs["seek"] <= line.packets * EXACT_COST:
            return "seek"
        if widest_gap(line) <= 1 / rate:
            costs["keyframes"] = Fraction(min(len(line.keys), len(wanted)))
    return min(costs, key=lambda mode: costs[mode])


def slots(line: Timeline, rate: Fraction) -> list[Fraction]:
    """Presentation times at which slots of 1/rate seconds begin, from the first frame to the last."""
    return [line.start + number / rate for number in range(((line.end - line.start) * rate).__floor__() + 1)]


def seek_cost(keys: Sequence[Fraction], at: Fraction, step: Fraction) -> Fraction:
    """Frames decoded for the one at ``at`` when decoding starts at the keyframe before it."""
    place = bisect_right(keys, at)
    return (at - keys[place - 1]) / step + SEEK_COST if place else Fraction(SEEK_COST)


def widest_gap(line: Timeline) -> Fraction:
    """The longest stretch in seconds without a keyframe, ends included."""
    marks = (line.start, *line.keys, line.end)
    return max(b - a for a, b in pairwise(marks))
