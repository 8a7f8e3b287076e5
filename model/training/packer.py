"""Packs of near-equal work, closed one by one.

Worked example: budget 10, costs in mix order ``a6 b5 c4 d5 e3``, two open packs at most::

    a6 -> [a6]            b5 -> [a6] [b5]         c4 fits [a6] tightest -> [a6 c4] [b5]
    d5 fits [b5]          -> [a6 c4] [b5 d5]      e3 fits none: the fullest is closed, a new one opened
"""

from __future__ import annotations

from dataclasses import dataclass

from model.training.order import Item


@dataclass
class _Open:
    room: int
    items: list[Item]


class Packer:
    """Holds up to ``width`` open packs of at most ``budget`` work tokens. ``used`` counts those of the closed ones.

    Samples keep about their order: a pack is closed as soon as the next sample fits nowhere. A nearly full one may wait
    long for its turn; with ``oldest_first`` the oldest is closed instead of the fullest, so no sample is overtaken by more
    than the packs that are open."""

    def __init__(self, budget: int, width: int, *, oldest_first: bool) -> None:
        self.budget, self.width, self.oldest_first = budget, width, oldest_first
        self.used = 0
        self._open: list[_Open] = []

    def add(self, item: Item, cost: int) -> tuple[Item, ...] | None:
        """Put the item, of ``cost`` up to ``budget``, where it fits tightest; returns the pack closed to make place."""
        fitting = [pack for pack in self._open if pack.room >= cost]
        if fitting:
            tightest = min(fitting, key=lambda pack: pack.room)
            tightest.items.append(item)
            tightest.room -= cost
            return None
        closed = self.close() if len(self._open) == self.width else None
        self._open.append(_Open(self.budget - cost, [item]))
        return closed

    def close(self) -> tuple[Item, ...]:
        """Close the pack whose turn it is: the oldest, or the fullest (of equal ones the older)."""
        rooms = [pack.room for pack in self._open]
        turn = self._open.pop(0 if self.oldest_first else rooms.index(min(rooms)))
        self.used += self.budget - turn.room
        return tuple(turn.items)
