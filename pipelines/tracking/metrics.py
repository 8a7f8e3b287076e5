"""The metrics of an attempt, read while they are written. Every byte is asked of a store once: a remote one keeps the file
in a new part every few seconds, so a mirror that began again at each look would read what it knows a thousand times.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pipelines.core import storage
from pipelines.core.errors import InfraError
from pipelines.core.storage import Place
from pipelines.core.trail import EVERY_S, Trail
from pipelines.tracking import describe
from pipelines.tracking.sink import Point


class MetricFile:
    """``read`` takes in what is new, ``after`` gives the points behind a byte, again and again until they were delivered and
    ``forget`` says so. ``last`` is the last value of each metric read so far."""

    def __init__(self, attempt: Place) -> None:
        self.last: dict[str, float] = {}
        self._trail = Trail(attempt / "logs" / "events.jsonl")
        self._every = EVERY_S if isinstance(attempt, storage.Remote) else 0.0
        self._asked = -self._every
        self._torn = b""
        self._end = 0
        self._waiting: list[tuple[int, list[Point]]] = []

    @property
    def due(self) -> bool:
        """Whether a look can show anything: a remote file does not grow more often than it is shipped."""
        return time.monotonic() - self._asked >= self._every

    def read(self) -> bool:
        """Take in what is new; True when there are lines to deliver. A store that does not answer has nothing new."""
        self._asked = time.monotonic()
        with suppress(OSError, InfraError):
            self._torn += self._trail.new()
        whole = self._torn.rfind(b"\n") + 1
        for line in self._torn[:whole].splitlines(keepends=True):
            self._end += len(line)
            points = _points(line)
            self.last |= {point.name: point.value for point in points}
            self._waiting.append((self._end, points))
        self._torn = self._torn[whole:]
        return bool(self._waiting)

    def after(self, offset: int) -> tuple[list[Point], int]:
        """The points of whole lines after byte ``offset``, and the byte after them."""
        found = [point for end, points in self._waiting if end > offset for point in points]
        return found, max(offset, self._end)

    def forget(self, offset: int) -> None:
        """The points up to byte ``offset`` were delivered."""
        self._waiting = [(end, points) for end, points in self._waiting if end > offset]


def _points(line: bytes) -> list[Point]:
    """Of a line that is no metric, torn or foreign: none."""
    try:
        event: Any = json.loads(line)
    except ValueError:
        return []
    if not isinstance(event, Mapping) or event.get("kind") != "metric":
        return []
    values = describe.numbers(event.get("values") or {})
    return [
        Point(name, value, float(event.get("t") or 0.0), int(event.get("step") or 0)) for name, value in values.items()
    ]
