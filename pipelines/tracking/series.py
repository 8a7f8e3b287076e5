"""The metric lines of the attempts of one result, read while they are written: every byte is read once by a process, in
pieces of ``PIECE`` bytes, so that neither a long run nor one caught up with weeks later costs memory."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.core.events import parse_events
from pipelines.core.storage import Place, Remote
from pipelines.core.trail import EVERY_S, Trail
from pipelines.tracking import describe
from pipelines.tracking.desired import Point, Summary, cuts

PIECE = 1 << 20


@dataclass
class Lines:
    """The events of one attempt from the first byte on. ``points`` are those of the piece that was read last and not
    delivered yet, ``end`` the byte after it. ``steps`` are the first and last steps of each metric, ``odd`` how many of
    its values were no finite numbers and the first step with one."""

    attempt: Place
    points: list[Point] = field(default_factory=list)
    end: int = 0
    steps: dict[str, tuple[int, int]] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    odd: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._trail = Trail(self.attempt / "logs" / "events.jsonl")
        self._every = EVERY_S if isinstance(self.attempt, Remote) else 0.0
        self._asked = -math.inf
        self._torn = b""

    def pieces(self, *, now: bool) -> Iterator[int]:
        """Read on, piece after piece; each ends at the byte given. A remote file does not grow more often than it is
        shipped, and is asked only then unless it has to be ``now``. A piece comes again while it has ``points``."""
        if self.points:
            yield self.end
        if not now and time.monotonic() - self._asked < self._every:
            return
        self._asked = time.monotonic()
        while found := self._trail.new(PIECE):
            whole, newline, self._torn = (self._torn + found).rpartition(b"\n")
            self.end += len(whole) + len(newline)
            for event in parse_events(whole.decode(errors="replace").split("\n")):
                self._take(event)
            if newline:
                yield self.end
            if self._every and not self._trail.more:
                return

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("kind") != "metric":
            return
        step, when = int(event.get("step") or 0), float(event.get("t") or 0.0)
        for name, value in describe.numbers(event.get("values") or {}).items():
            first, last = self.steps.get(name, (step, step))
            self.steps[name] = min(first, step), max(last, step)
            self.last[name] = value
            if math.isnan(value):
                count, begun = self.odd.get(name, (0, step))
                self.odd[name] = count + 1, min(begun, step)
            self.points.append(Point(name, value, when, step))


class Series:
    """The attempts of a result, oldest first. A newer one supersedes the values of the older ones from its first step on."""

    def __init__(self) -> None:
        self.lines: list[Lines] = []

    def open(self, attempts: Sequence[Place]) -> None:
        known = {lines.attempt: lines for lines in self.lines}
        self.lines = [known.get(attempt) or Lines(attempt) for attempt in attempts]

    def pieces(self, *, now: bool) -> Iterator[tuple[Lines, list[Point]]]:
        """What is new, the newest attempt first, without superseded values; whoever delivered them clears ``points``."""
        for lines in reversed(self.lines):
            for _ in lines.pieces(now=now):
                cut = self.cuts[lines.attempt.name]
                yield lines, [point for point in lines.points if point.step < cut.get(point.name, point.step + 1)]

    @property
    def cuts(self) -> dict[str, dict[str, int]]:
        """Attempt -> metric -> the step from which on its values are superseded."""
        found = cuts([lines.steps for lines in self.lines])
        return {lines.attempt.name: cut for lines, cut in zip(self.lines, found, strict=True)}

    def stale(self, sent: Mapping[str, Mapping[str, int]]) -> bool:
        """Whether values were sent that are superseded now; ``sent`` are the cuts under which each attempt was sent."""
        now = self.cuts
        return any(
            lines.attempt.name in sent and cut < sent[lines.attempt.name].get(name, cut + 1)
            for lines in self.lines
            for name, cut in now[lines.attempt.name].items()
            if lines.steps.get(name, (0, cut - 1))[1] >= cut
        )

    @property
    def summary(self) -> Summary:
        last: dict[str, float] = {}
        odd: dict[str, tuple[int, int]] = {}
        for lines in self.lines:
            last |= lines.last
            for name, (count, first) in lines.odd.items():
                before, begun = odd.get(name, (0, first))
                odd[name] = before + count, min(begun, first)
        return Summary(last, odd)
