"""Which steps may start: a ready set that costs one look per edge over a whole run, and the admission of steps to the
CPUs of the machine. Pure: no clock, no files.

    steps = ReadySet({"a": (), "b": ("a",), "c": ("a",)})
    steps.take(lambda name: True)      # 'a'
    steps.finish("a", ok=True)         # 'b' and 'c' are ready now
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class ReadySet:
    """Steps by what they still wait for. ``parents`` names only steps of this set; a parent that exists already is left
    out by the caller. The order of the mapping is the order in which ready steps are taken."""

    def __init__(self, parents: Mapping[str, Sequence[str]]) -> None:
        self._missing = {name: len(set(needed)) for name, needed in parents.items()}
        self._children: dict[str, list[str]] = {name: [] for name in parents}
        for name, needed in parents.items():
            for parent in set(needed):
                self._children[parent].append(name)
        self._ready = deque(name for name, count in self._missing.items() if not count)

    def __bool__(self) -> bool:
        """Whether something could be taken now, were there room."""
        return bool(self._ready)

    def take(self, fits: Callable[[str], bool]) -> str | None:
        """The first ready step that ``fits``; it is no longer in the set. A step that does not fit keeps its turn."""
        for name in self._ready:
            if fits(name):
                self._ready.remove(name)
                return name
        return None

    def finish(self, name: str, *, ok: bool) -> None:
        """A taken step has ended; with ``ok`` its children wait for one less, without it they are never ready."""
        if not ok:
            return
        for child in self._children[name]:
            self._missing[child] -= 1
            if not self._missing[child]:
                self._ready.append(child)


class Demand(NamedTuple):
    """CPUs a step can keep busy. ``shares``: its work is tasks that reserve a CPU each, so Ray deals the CPUs out among
    such steps, however many tasks they would like to run."""

    cpus: float
    shares: bool


LEAST = Demand(1e-6, True)
"""Less than any step: where it is not admitted, nothing is."""


def admits(wanted: Demand, running: Sequence[Demand], cpus: float, max_parallel: int | None) -> bool:
    """Whether a step may start beside ``running`` ones. The first always may: one that wants more than there is would else
    never run. Steps that share run side by side, one a CPU; a step that does not waits until its CPUs are free.

    Example, 8 CPUs: documents, videos and text of 8 workers each run beside each other; a gang of 2 x 4 waits for all three.
    """
    if not running:
        return True
    if max_parallel is not None and len(running) >= max_parallel:
        return False
    if wanted.shares and all(one.shares for one in running):
        return len(running) + 1 <= cpus
    return sum(one.cpus for one in running) + wanted.cpus <= cpus
