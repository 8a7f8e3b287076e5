"""What may be deleted from a store, and in which order. Pure: a survey of the folders goes in, waste comes out.

Kept is what a *root* needs: the steps of recent runs, and every key any of them was made from, however far up. Of a kept
key waste are old generations nobody read, and attempts that no remaining generation points into.
Never deleted: what is being made, a path that a remaining manifest names, a key or the very bytes that a remaining result
was made from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter

from pipelines.core.storage import Place


@dataclass(frozen=True)
class Made:
    """A committed generation: the attempts its manifest points into, and the (key, content digest) it was made from."""

    number: int
    content_digest: str
    attempts: frozenset[str]
    inputs: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Tried:
    """An attempt's folder. ``age_s``: seconds since it last finished something; ``inputs``: keys it reads."""

    name: str
    generation: int
    age_s: float
    bytes: int = 0
    inputs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Holding:
    """One key's folder, its generations in order. ``live``: somebody works on it."""

    folder: Place
    key: str
    made: tuple[Made, ...] = ()
    tried: tuple[Tried, ...] = ()
    live: bool = False


class Kind(StrEnum):
    ATTEMPT = "attempt"
    GENERATION = "generation"
    KEY = "key"


@dataclass(frozen=True)
class Waste:
    """One thing to delete. ``attempts`` are the folders that go with it, ``generation`` is set for a generation."""

    kind: Kind
    holding: Holding
    why: str
    attempts: tuple[str, ...] = ()
    generation: int = 0

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.holding.tried if item.name in self.attempts)

    @property
    def name(self) -> str:
        more = f"/attempts/{self.attempts[0]}" if self.kind is Kind.ATTEMPT else ""
        return self.holding.folder.name + more + (f" generation {self.generation}" if self.generation else "")


def find_waste(holdings: Sequence[Holding], roots: Collection[str], *, older_than_s: float) -> tuple[Waste, ...]:
    """Everything that may go, in an order that is safe to stop anywhere: a result before what it was made from.

    ``roots`` are keys; ``older_than_s`` spares unfinished attempts that are younger, because their units can be adopted.
    """
    needed = _needed({item.key: item for item in holdings}, roots)
    doomed = {item.key: item for item in holdings if item.made and not item.live and item.key not in needed}
    kept = [item for item in holdings if item.key not in doomed]
    read = {pair for item in kept for made in item.made for pair in made.inputs}
    order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(doomed, ()))
    for key, item in doomed.items():
        for parent in {parent for made in item.made for parent, _ in made.inputs} & doomed.keys():
            order.add(parent, key)
    keys = [doomed[key] for key in order.static_order()]
    found = [Waste(Kind.KEY, item, "no recent run needs it", tuple(one.name for one in item.tried)) for item in keys]
    return (*found, *(waste for item in kept if not item.live for waste in _inside(item, read, older_than_s)))


def _needed(by_key: dict[str, Holding], roots: Iterable[str]) -> set[str]:
    """The roots, what is being made, and everything those were made from, or read while they are made."""
    rest = [*roots, *(key for key, item in by_key.items() if item.live)]
    needed: set[str] = set()
    while rest:
        if (key := rest.pop()) not in needed:
            needed.add(key)
            for item in filter(None, [by_key.get(key)]):
                rest += [parent for made in item.made for parent, _ in made.inputs]
                rest += [parent for tried in item.tried if item.live for parent in tried.inputs]
    return needed


def _inside(item: Holding, read: set[tuple[str, str]], older_than_s: float) -> Iterator[Waste]:
    """The waste of a key that stays."""
    left = list(item.made)
    spoken: set[str] = set()
    for made in item.made[:-1]:
        if made.content_digest != item.made[-1].content_digest and (item.key, made.content_digest) in read:
            continue
        left.remove(made)
        alone = made.attempts - {name for other in left for name in other.attempts}  # else it goes with a later one
        spoken |= alone
        yield Waste(Kind.GENERATION, item, "a newer generation took its place", tuple(sorted(alone)), made.number)
    spoken |= {name for made in left for name in made.attempts}
    for tried in item.tried:
        if tried.name in spoken:
            continue
        if item.made and tried.generation <= item.made[-1].number:
            yield Waste(Kind.ATTEMPT, item, "its generation was committed without it", (tried.name,))
        elif tried.age_s > older_than_s:
            yield Waste(Kind.ATTEMPT, item, f"unfinished for {tried.age_s / 86400:.0f} days", (tried.name,))
