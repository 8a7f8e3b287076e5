"""Groups wait here between judge and learner: each is handed out at most once, and never older than the bound.

Every dispatched prompt ends in exactly one outcome. ``Ledger`` holds the counts and proves the balance: a prompt that
vanishes is a bug that shows, not a slow leak.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Literal

from rl.records import Group

Outcome = Literal["trained", "skipped", "stale", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("trained", "skipped", "stale", "failed")


class Ledger:
    """dispatched = trained + skipped (zero advantage) + stale + failed + in flight."""

    def __init__(self) -> None:
        self._open: set[str] = set()
        self.counts: Counter[str] = Counter()

    def dispatch(self, uid: str) -> None:
        """Raises ValueError when the prompt is already on its way."""
        if uid in self._open:
            raise ValueError(f"prompt {uid} is already in flight")
        self._open.add(uid)
        self.counts["dispatched"] += 1

    def close(self, uid: str, outcome: Outcome) -> None:
        """Raises ValueError for a prompt that is not in flight: it would be counted twice."""
        if uid not in self._open:
            raise ValueError(f"prompt {uid} is not in flight, cannot end as {outcome}")
        self._open.remove(uid)
        self.counts[outcome] += 1

    @property
    def in_flight(self) -> int:
        return len(self._open)

    def balanced(self) -> bool:
        return self.counts["dispatched"] == sum(self.counts[name] for name in OUTCOMES) + self.in_flight


class GroupBuffer:
    """Consume-once store of judged groups with a hard bound on their age in policy versions."""

    def __init__(self, bound: int) -> None:
        if bound < 0:
            raise ValueError(f"the staleness bound counts versions and cannot be {bound}")
        self.bound = bound
        self._groups: OrderedDict[str, Group] = OrderedDict()
        self._seen: set[str] = set()

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, group: Group) -> None:
        """Raises ValueError for a group that was here before, waiting or already taken."""
        uid = group.rollout.prompt.uid
        if uid in self._seen:
            raise ValueError(f"group {uid} arrived twice")
        self._seen.add(uid)
        self._groups[uid] = group

    def take(self, current_step: int) -> tuple[list[Group], list[Group]]:
        """(fresh, stale): every waiting group, split by whether its version is at most ``bound`` behind. Empties the
        buffer."""
        groups, self._groups = list(self._groups.values()), OrderedDict()
        fresh: list[Group] = []
        stale: list[Group] = []
        for group in groups:
            (fresh if current_step - group.rollout.version.step <= self.bound else stale).append(group)
        return fresh, stale
