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
    """What one task or actor holds while it works: CPUs and GPUs (fractions share one), ``memory`` in bytes (0: not
    reserved)."""

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0


class Actor(Protocol):
    """An object that lives with its executor, called by the name of a method."""

    def call(self, method: str, *arguments: Any) -> Any:
        """The method's result; its exception comes through. Raises InfraError when the actor is gone for good."""
        ...


class Executor(Protocol):
    """``distributed``: work leaves this process, so that functions and units must be importable and small to pickle."""

    distributed: bool

    def map(
        self, function: Callable[[Unit], Result], units: Iterable[Unit], resources: Resources, *, at_once: int
    ) -> Iterator[tuple[Unit, Result]]:
        """Yield ``(unit, function(unit))`` in the order in which they finish, with at most ``at_once`` in flight. An
        exception of the function is raised as it is, after what was in flight was cancelled. Raises InfraError for work
        whose process died again and again."""
        ...

    def actors(
        self, kind: Callable[..., Any], arguments: Sequence[Any], count: int, resources: Resources
    ) -> AbstractContextManager[Sequence[Actor]]:
        """``count`` actors ``kind(*arguments)`` for the time of the block; one that dies is started again."""
        ...


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
