"""Which rollout worker does what, who is dead, and what must be rolled again: a state machine without Ray or clocks.

The transition that must not exist is dead -> idle: only ``replaced`` brings a slot back, and the new process holds no
weights, so its first chunk makes it load and prove the version it samples with. A chunk leaves the queue exactly once as
done; a failure puts it back, in front, because the rest of the batch waits for it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Literal

from pipelines.core.errors import InfraError

State = Literal["idle", "busy", "dead"]


class Fleet:
    """``workers`` slots, chunks in order. ``max_tries`` bounds the tries of one chunk, ``max_replacements`` the dead
    workers of the whole run: beyond either the cause is not bad luck and the run stops with the reasons."""

    def __init__(self, workers: int, *, max_tries: int = 3, max_replacements: int = 8) -> None:
        if workers < 1:
            raise ValueError(f"a fleet needs at least one worker, got {workers}")
        self.states: list[State] = ["idle"] * workers
        self.max_tries, self.max_replacements = max_tries, max_replacements
        self.replacements = 0
        self.reasons: list[str] = []
        self._queue: deque[str] = deque()
        self._work: dict[int, str] = {}
        self._tries: Counter[str] = Counter()

    def submit(self, chunks: Iterable[str]) -> None:
        self._queue.extend(chunks)

    def dead(self) -> list[int]:
        return [slot for slot, state in enumerate(self.states) if state == "dead"]

    def assign(self) -> tuple[int, str] | None:
        """The next (worker, chunk), or None when no worker is idle or nothing waits. Lowest idle slot first."""
        if not self._queue or "idle" not in self.states:
            return None
        slot, chunk = self.states.index("idle"), self._queue.popleft()
        self._tries[chunk] += 1
        self.states[slot], self._work[slot] = "busy", chunk
        return slot, chunk

    def done(self, slot: int) -> str:
        """The worker finished; returns its chunk. Raises ValueError if it held none (a reply from a dead worker)."""
        if self.states[slot] != "busy":
            raise ValueError(f"worker {slot} is {self.states[slot]}, it cannot finish anything")
        self.states[slot] = "idle"
        chunk = self._work.pop(slot)
        del self._tries[chunk]
        return chunk

    def failed(self, slot: int, reason: str) -> None:
        """The worker is gone or not to be trusted; its chunk waits again. Raises InfraError beyond the bounds."""
        self.states[slot] = "dead"
        self.reasons.append(f"worker {slot}: {reason}")
        chunk = self._work.pop(slot)
        if self._tries[chunk] >= self.max_tries:
            raise InfraError(
                f"a chunk of prompts failed on {self._tries[chunk]} rollout workers",
                where=chunk,
                why="; ".join(self.reasons[-self.max_tries :]),
                do="read the workers' log; an out-of-memory kill is cured by fewer workers or a smaller group",
            )
        self._queue.appendleft(chunk)

    def replaced(self, slot: int) -> None:
        """A new process stands in the slot. Raises InfraError when too many had to be replaced."""
        if self.states[slot] != "dead":
            raise ValueError(f"worker {slot} is {self.states[slot]}, only a dead one is replaced")
        self.replacements += 1
        if self.replacements > self.max_replacements:
            raise InfraError(
                f"{self.replacements} rollout workers died in one run",
                why="; ".join(self.reasons[-3:]),
                do="read the workers' log; check the memory of the machine",
            )
        self.states[slot] = "idle"
