"""How long something that is counted will still take. No clock here: the times come with the counts."""

from __future__ import annotations

from collections import deque

WINDOW_S = 120.0
"""The rate is that of the last so many seconds: units get dearer and cheaper on the way (phases, large pages first)."""


def time_left(first: tuple[float, int], last: tuple[float, int], total: int, waited: float = 0.0) -> float | None:
    """Seconds until ``total``, from two counts ``(time, done)`` and the seconds since the last one; None while the rate is
    unknown. A unit under way counts for what was waited, and never for more than a whole one.

    Worked example: 4 of 10 done at 100 s, 7 at 160 s, 15 s ago: 20 s a unit, 3 to go, 45 s left."""
    if last[1] >= total:
        return 0.0
    if last[1] <= first[1]:
        return None
    each = (last[0] - first[0]) / (last[1] - first[1])
    return max(0.0, each * (total - last[1]) - min(waited, each))


class Pace:
    """The counts of one step as it tells them. A count that falls, or another total, begins anew."""

    def __init__(self) -> None:
        self._told: deque[tuple[float, int]] = deque()
        self._total = 0

    def tell(self, time: float, done: int, total: int) -> None:
        """``done`` of ``total`` at a time in seconds, of any clock."""
        if self._told and (done < self._told[-1][1] or total != self._total):
            self._told.clear()
        self._told.append((time, done))
        self._total = total
        while len(self._told) > 2 and time - self._told[1][0] >= WINDOW_S:
            self._told.popleft()

    def left(self, waited: float) -> float | None:
        """Seconds left when the last count is ``waited`` seconds old; None while that cannot be said."""
        return time_left(self._told[0], self._told[-1], self._total, waited) if self._told else None
