"""What may be deleted from a store, and in which order. Pure: a survey of the folders goes in, waste comes out.

Kept is what a *root* needs: the steps of recent runs, data that was adopted, and every key any of them was made from,
however far up. The rest of the committed keys is waste. Of a kept key waste are old generations nobody read, and
attempts that no remaining generation points into. A key that is being made is not touched.

Never deleted: a path that a remaining manifest names, a key or the very bytes that a remaining result was made from.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

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
    """One key's folder. ``live``: somebody works on it; ``adopted``: it cannot be made again."""

    folder: Place
    key: str
    made: tuple[Made, ...] = ()
    tried: tuple[Tried, ...] = ()
    live: bool = False
    adopted: bool = False

    @property
    def newest(self) -> Made | None:
        return max(self.made, key=lambda item: item.number, default=None)


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
        if self.kind is Kind.ATTEMPT:
            return f"{self.holding.folder.name}/attempts/{self.attempts[0]}"
        return self.holding.folder.name + (f" generation {self.generation}" if self.generation else "")


def find_waste(holdings: Sequence[Holding], roots: Collection[str], *, older_than_s: float) -> tuple[Waste, ...]:
    """Everything that may go, in an order that is safe to stop anywhere: a result before what it was made from.

    ``roots`` are keys; ``older_than_s`` spares unfinished attempts that are younger, because their units can be adopted.
    """
    needed = _needed(holdings, roots)
    kept = [item for item in holdings if item.key in needed or not item.made or item.live]
    read = {pair for item in kept for made in item.made for pair in made.inputs}
    found: list[Waste] = []
    for item in _descendants_first([item for item in holdings if item not in kept]):
        found.append(Waste(Kind.KEY, item, "no recent run needs it", tuple(tried.name for tried in item.tried)))
    for item in kept:
        if not item.live:
            found += _inside(item, read, older_than_s)
    return tuple(found)


def _needed(holdings: Sequence[Holding], roots: Collection[str]) -> set[str]:
    """The roots, what is adopted or being made, and everything those were made from, or read while they are made."""
    by_key = {item.key: item for item in holdings}
    rest = [*roots, *(item.key for item in holdings if item.adopted or item.live)]
    needed: set[str] = set()
    while rest:
        key = rest.pop()
        if key not in needed:
            needed.add(key)
            if key in by_key:
                rest += [parent for made in by_key[key].made for parent, _ in made.inputs]
                if by_key[key].live:
                    rest += [parent for tried in by_key[key].tried for parent in tried.inputs]
    return needed


def _descendants_first(doomed: Sequence[Holding]) -> list[Holding]:
    """A result before its inputs, so that at no moment a committed record names a key that is gone."""
    readers = {
        item.key: {other.key for other in doomed for made in other.made if item.key in {k for k, _ in made.inputs}}
        for item in doomed
    }
    order: list[Holding] = []
    done: set[str] = set()
    rest = list(doomed)
    while rest:
        free = [item for item in rest if readers[item.key] - {item.key} <= done] or rest
        order += free
        done |= {item.key for item in free}
        rest = [item for item in rest if item.key not in done]
    return order


def _inside(item: Holding, read: set[tuple[str, str]], older_than_s: float) -> list[Waste]:
    newest = item.newest
    old = [
        made
        for made in sorted(item.made, key=lambda made: made.number)
        if newest is not None
        and made.number < newest.number
        and (made.content_digest == newest.content_digest or (item.key, made.content_digest) not in read)
    ]
    remaining = [made for made in item.made if made not in old]
    used = frozenset().union(*(made.attempts for made in remaining))
    found: list[Waste] = []
    gone: set[str] = set()
    for index, made in enumerate(old):  # an attempt goes with the last generation that points into it
        later = frozenset().union(*(other.attempts for other in old[index + 1 :]))
        alone = tuple(sorted(made.attempts - used - later))
        gone |= set(alone)
        found.append(Waste(Kind.GENERATION, item, "a newer generation took its place", alone, made.number))
    for tried in item.tried:
        if tried.name in used or tried.name in gone:
            continue
        if newest is not None and tried.generation <= newest.number:
            found.append(Waste(Kind.ATTEMPT, item, "its generation was committed without it", (tried.name,)))
        elif tried.age_s > older_than_s:
            found.append(Waste(Kind.ATTEMPT, item, f"unfinished for {tried.age_s / 86400:.0f} days", (tried.name,)))
    return found
