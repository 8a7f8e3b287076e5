"""Which frames of a video are kept, and at which tick: exact arithmetic on presentation times, nothing decoded here.

Containers lie about their number of frames, so choice goes by the times that arrive. Time is cut into slots of
1/rate seconds; the first frame of each slot is kept. A slot without a frame stays empty (nothing is repeated).

Worked example: 4 fps input at rate 2: times 0, 1/4, 1/2, 3/4, 1 -> frames 0, 2, 4 -> ticks 0, 5, 10.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Generic, TypeVar

T = TypeVar("T")

TICKS_PER_SECOND = 10
MAX_RATE = 10
"""Frames a second at most: two frames never share a tick of 0.1 s."""


def tick_of(seconds: Fraction) -> int:
    """Nearest tick (0.1 s), halves up, in exact arithmetic: ``floor(10 * seconds + 1/2)``.

    The released demo truncates instead and is one tick low for about 6 % of frames (paper 2.8)."""
    return (seconds * TICKS_PER_SECOND + Fraction(1, 2)).__floor__()


def uniform_indices(total: int, count: int) -> list[int]:
    """``count`` indices below ``total``, at the centres of equal segments (the released sampler's rule)."""
    if count <= 0 or total <= 0:
        return []
    gap = total / count  # floating point on purpose: exact fractions differ from the released rule at a few edges
    return [min(int(gap * i + gap / 2), total - 1) for i in range(count)]


class Chooser:
    """Says frame by frame whether to keep it. ``rate`` is slots a second; times are seconds since the first frame."""

    def __init__(self, rate: Fraction) -> None:
        if not 0 < rate <= MAX_RATE:
            raise ValueError(f"rate {rate} is not in (0, {MAX_RATE}] frames a second")
        self.rate = rate
        self._next_slot = 0
        self._last_tick = -1

    def take(self, seconds: Fraction) -> bool:
        """True for the first frame of its slot, if no frame with the same tick was taken before. A frame that comes
        late (a time in an earlier slot) is not taken."""
        slot = (seconds * self.rate).__floor__()
        tick = tick_of(seconds)
        if slot < self._next_slot or tick <= self._last_tick:
            return False
        self._next_slot, self._last_tick = slot + 1, tick
        return True

    def halve(self) -> None:
        """Half as many slots from now on."""
        self.rate /= 2
        self._next_slot = -(-self._next_slot // 2)


def asked_rate(fps: float) -> Fraction:
    """``fps`` as people mean it, at most 10: 0.1 is one tenth, not the binary fraction just above it, which would put
    every slot a hair before the frame that was meant."""
    return min(Fraction(fps).limit_denominator(10_000), Fraction(MAX_RATE))


def rate_for(fps: float, max_frames: int, duration: Fraction | None) -> Fraction:
    """Slots a second: the asked ``fps`` (at most 10), lower when a known ``duration`` (seconds) would give more than
    ``max_frames``."""
    rate = asked_rate(fps)
    if duration is not None and duration > 0 and duration * rate > max_frames:
        rate = Fraction(max_frames) / duration
    return rate


class Keeper(Generic[T]):
    """Keeps what ``wants`` asked for, never more than twice ``max_frames`` at a time. ``duration`` (seconds) is the
    container's claim: where it is wrong, the result is only spread less evenly."""

    def __init__(self, fps: float, max_frames: int, duration: Fraction | None) -> None:
        if max_frames < 1:
            raise ValueError(f"max_frames {max_frames} is below 1")
        self._chooser = Chooser(rate_for(fps, max_frames, duration))
        self._most = max_frames
        self._start: Fraction | None = None
        self._tick = 0
        self._items: list[tuple[T, int]] = []

    def wants(self, seconds: Fraction) -> bool:
        """Whether the frame at this presentation time is to be kept; the first frame is time 0."""
        if self._start is None:
            self._start = seconds
        self._tick = tick_of(seconds - self._start)
        return seconds >= self._start and self._chooser.take(seconds - self._start)

    def keep(self, item: T) -> None:
        """Keep what belongs to the frame last wanted. When the duration turns out longer than claimed, every second
        item goes and the rate is halved."""
        self._items.append((item, self._tick))
        if len(self._items) >= 2 * self._most:
            self._items = self._items[::2]
            self._chooser.halve()

    def kept(self) -> list[tuple[T, int]]:
        """(item, tick) in order, thinned evenly to ``max_frames``."""
        if len(self._items) <= self._most:
            return list(self._items)
        return [self._items[i] for i in uniform_indices(len(self._items), self._most)]
