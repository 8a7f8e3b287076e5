"""Which steps may start: a ready set that costs one look per edge over a whole run, and the admission of steps to the
CPUs, GPUs and memory of the cluster. Pure: no clock, no files.

    steps = ReadySet({"a": (), "b": ("a",), "c": ("a",)})
    steps.take(lambda name: True)      # 'a'
    steps.finish("a", ok=True)         # 'b' and 'c' are ready now
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from graphlib import TopologicalSorter

from pipelines.core.errors import ConfigError
from pipelines.core.executor import Demand, Resources


class ReadySet:
    """Steps by what they still wait for. ``parents`` is in topological order, which is the order in which ready steps are
    taken, and names only steps of this set: a parent that exists already is left out by the caller."""

    def __init__(self, parents: Mapping[str, Sequence[str]]) -> None:
        self._graph = TopologicalSorter(parents)
        self._graph.prepare()
        self._ready = deque(self._graph.get_ready())

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
        if ok:
            self._graph.done(name)
            self._ready.extend(self._graph.get_ready())


LEAST = Demand(Resources(1e-6), Resources(1e-6))
"""Less than any step: where it is not admitted, nothing is."""


def admits(wanted: Demand, running: Sequence[Demand], cluster: Resources, max_parallel: int | None) -> bool:
    """Whether a step may start beside ``running`` ones. The first always may: one that wants more than there is would else
    never run. Steps that share run side by side as long as there is place for a task of each; a step that does not waits
    until all it wants is free.

    Example, 8 CPUs: documents, videos and text of 8 workers each run beside each other; a gang of 2 x 4 waits for all three.
    """
    if not running:
        return True
    if max_parallel is not None and len(running) >= max_parallel:
        return False
    steps = [*running, wanted]
    tasks = [step.task for step in steps if step.task is not None]
    held = tasks if len(tasks) == len(steps) else [step.whole for step in steps]
    return not lacking(functools.reduce(Resources.plus, held), cluster)


def lacking(wanted: Resources, cluster: Resources) -> list[str]:
    """What of it the cluster has too little of: ``cpus``, ``gpus``, ``memory``."""
    names = ("cpus", "gpus", *(("memory",) if cluster.memory else ()))
    return [name for name in names if getattr(wanted, name) > getattr(cluster, name)]


def refuse_missing(step: str, demand: Demand, cluster: Resources) -> None:
    """Raises ConfigError for a step of which not even a part finds its GPUs or memory: it would wait for ever. One that
    wants more CPUs than there are runs alone."""
    least = demand.task or demand.whole
    missing = [name for name in lacking(least, cluster) if name != "cpus"]
    if missing:
        raise ConfigError(
            f"step '{step}' needs more {' and '.join(missing)} than the cluster has",
            where="conf/cluster: num_gpus, memory",
            why=f"{'each of its tasks' if demand.task else 'it'} wants {least}, the cluster has {cluster}",
            do="run it on a cluster that has them, ask for less, or correct cluster.num_gpus and cluster.memory",
        )
