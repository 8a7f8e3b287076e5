"""Where the pieces of a step's work run: in this process, or as tasks and actors of a Ray cluster. A step is handed its
executor with its attempt (``out.executor``) and asks nothing of its surroundings; both give the same bytes.

    for unit, receipt in out.executor.map(build, units, Resources(cpus=1), at_once=8): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Unit = TypeVar("Unit")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Resources:
    """What a task or actor holds while it works, or a cluster has: CPUs and GPUs (fractions share one), ``memory`` in
    bytes (0: not reserved; of a cluster: not known, so not counted)."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0

    def times(self, count: float) -> Resources:
        return Resources(self.cpus * count, self.gpus * count, int(self.memory * count))

    def plus(self, other: Resources) -> Resources:
        return Resources(self.cpus + other.cpus, self.gpus + other.gpus, self.memory + other.memory)

    def holds(self, each: Resources) -> int:
        """How many of ``each`` there is place for side by side, at least 1: that one then waits for its place."""
        pairs = [(self.cpus, each.cpus), (self.gpus, each.gpus), *([(self.memory, each.memory)] if self.memory else [])]
        return max(1, int(min((having / wanted for having, wanted in pairs if wanted), default=1)))

    def __str__(self) -> str:
        """``8 CPUs, 1 GPU, 64 GB``: what there is nothing of is left out."""
        counts = [(self.cpus, "CPU"), (self.gpus, "GPU")]
        told = [f"{count:g} {name}{'' if count == 1 else 's'}" for count, name in counts if count or name == "CPU"]
        return ", ".join([*told, *([f"{self.memory / 1e9:.3g} GB"] if self.memory else [])])


ONE_CPU = Resources()


@dataclass(frozen=True)
class Demand:
    """What a step keeps busy. ``task``: its work is tasks of that size, which Ray deals out beside those of other such
    steps, however many they would like to be; None where ``whole`` must be free at once."""

    whole: Resources
    task: Resources | None = None


class Actor(Protocol):
    """An object that lives with its executor, called by the name of a method."""

    def call(self, method: str, *arguments: Any) -> Any:
        """The method's result; its exception comes through. Raises InfraError when the actor is gone for good."""


class Executor(Protocol):
    """``distributed``: work leaves this process, so that functions and units must be importable and small to pickle."""

    distributed: bool

    def map(
        self, function: Callable[[Unit], Result], units: Iterable[Unit], resources: Resources, *, at_once: int
    ) -> Iterator[tuple[Unit, Result]]:
        """Yield ``(unit, function(unit))`` in the order in which they finish, with at most ``at_once`` in flight. An
        exception of the function is raised as it is, after what was in flight was cancelled. Raises InfraError for work
        whose process died again and again."""

    def actors(
        self, kind: Callable[..., Any], arguments: Sequence[Any], count: int, resources: Resources
    ) -> AbstractContextManager[Sequence[Actor]]:
        """``count`` actors ``kind(*arguments)`` for the time of the block; one that dies is started again."""


@dataclass(frozen=True)
class _Local:
    made: Any

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.made, method)(*arguments)


class InProcess:
    """Everything here, one after the other: for tests, for a debugger, and for a machine without a cluster."""

    distributed = False

    def map(
        self, function: Callable[[Unit], Result], units: Iterable[Unit], resources: Resources, *, at_once: int
    ) -> Iterator[tuple[Unit, Result]]:
        for unit in units:
            yield unit, function(unit)

    @contextmanager
    def actors(
        self, kind: Callable[..., Any], arguments: Sequence[Any], count: int, resources: Resources
    ) -> Iterator[Sequence[Actor]]:
        yield [_Local(kind(*arguments))]
