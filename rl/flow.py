"""The way of a group from its prompt to the learner, and the only place that decides who goes on: capacity, age, and
what a group is worth are looked at here (a filter, and the refill it asks for, belong into ``take``).

    dispatch(prompt) -> add(rollout) ... the last one closes the group -> put(judged group) -> take(step)

Every dispatched prompt ends in exactly one outcome, and every rollout arrives exactly once: one that vanishes or comes
twice is a bug that shows, not a slow leak.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from rl.records import Group, Prompt, Rollout

Outcome = Literal["trained", "skipped", "stale", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("trained", "skipped", "stale", "failed")


class Flow:
    """Groups of ``size`` rollouts, at most ``capacity`` of them in flight, none older than ``staleness`` versions when
    it is taken. ``counts``: dispatched = trained + skipped (zero advantage) + stale + failed + in flight."""

    def __init__(self, size: int, capacity: int, staleness: int) -> None:
        if size < 1 or capacity < 1 or staleness < 0:
            raise ValueError(f"no group can flow with size {size}, capacity {capacity}, staleness {staleness}")
        self.size, self.capacity, self.staleness = size, capacity, staleness
        self.counts: Counter[str] = Counter()
        self._members: dict[str, dict[int, Rollout]] = {}  # of every prompt in flight, in the order of dispatch
        self._judged: dict[str, Group] = {}

    @property
    def in_flight(self) -> int:
        return len(self._members)

    @property
    def unjudged(self) -> int:
        """Prompts in flight whose group is not ready to be taken."""
        return len(self._members) - len(self._judged)

    def balanced(self) -> bool:
        return self.counts["dispatched"] == sum(self.counts[name] for name in OUTCOMES) + self.in_flight

    def dispatch(self, prompt: Prompt) -> None:
        """Raises ValueError when the prompt is already on its way, or there is no room for it."""
        if prompt.uid in self._members:
            raise ValueError(f"prompt {prompt.uid} is already in flight")
        if self.in_flight >= self.capacity:
            raise ValueError(f"no room for prompt {prompt.uid}: {self.in_flight} of {self.capacity} are in flight")
        self._members[prompt.uid] = {}
        self.counts["dispatched"] += 1

    def add(self, rollout: Rollout) -> tuple[Rollout, ...] | None:
        """All rollouts of its group, in order, when this was the last of them. Raises ValueError for a rollout nobody
        waits for."""
        members = self._of(rollout.prompt.uid)
        if rollout.index in members or not 0 <= rollout.index < self.size:
            raise ValueError(
                f"rollout {rollout.index} of {rollout.prompt.uid} arrived twice, or is none of {self.size}"
            )
        members[rollout.index] = rollout
        return tuple(members[index] for index in range(self.size)) if len(members) == self.size else None

    def put(self, group: Group) -> None:
        """Raises ValueError for a group that is not in flight, or was put before."""
        if len(self._of(group.prompt.uid)) != self.size or group.prompt.uid in self._judged:
            raise ValueError(f"group {group.prompt.uid} is not closed, or came twice")
        self._judged[group.prompt.uid] = group

    def end(self, uid: str, outcome: Outcome) -> None:
        """Raises ValueError for a prompt that is not in flight: it would be counted twice."""
        self._of(uid)
        del self._members[uid]
        self._judged.pop(uid, None)
        self.counts[outcome] += 1

    def take(self, step: int) -> list[Group]:
        """What the learner reads at ``step``: every judged group that is young enough, in the order of dispatch. All of
        them end."""
        fresh = []
        for group in [self._judged[uid] for uid in self._members if uid in self._judged]:
            stale = step - group.version.step > self.staleness
            self.end(group.prompt.uid, "stale" if stale else "trained" if group.informative else "skipped")
            fresh += [] if stale else [group]
        return fresh

    def _of(self, uid: str) -> dict[int, Rollout]:
        if uid not in self._members:
            raise ValueError(f"prompt {uid} is not in flight")
        return self._members[uid]
