"""Run one function over many units of work: Ray tasks when a cluster is connected, a plain loop otherwise.

The loop is the same program with one worker, which is what the tests of the data stages use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from pipelines.core.errors import InfraError

Unit = TypeVar("Unit")
Result = TypeVar("Result")


MAX_RETRIES = 3


def map_units(function: Callable[[Unit], Result], units: Iterable[Unit], workers: int) -> Iterator[tuple[Unit, Result]]:
    """Yield ``(unit, function(unit))`` in the order in which they finish, with at most ``workers`` (at least 1) in flight.

    ``function`` is a top-level function; units and results are small and picklable (data goes to files). A task
    reserves one CPU; one whose worker process dies is tried again ``MAX_RETRIES`` times, then InfraError. An exception
    of the function itself is raised as it is, after the tasks in flight were cancelled.
    """
    ray = sys.modules.get("ray")  # a process that never imported Ray has no cluster; do not import it to find that out
    if ray is not None and ray.is_initialized():
        yield from _on_ray(ray, function, units, max(1, workers))
    else:
        for unit in units:
            yield unit, function(unit)


def _on_ray(
    ray: Any, function: Callable[[Unit], Result], units: Iterable[Unit], workers: int
) -> Iterator[tuple[Unit, Result]]:
    task = ray.remote(_call).options(num_cpus=1, max_retries=MAX_RETRIES)
    waiting = iter(units)
    flying: dict[Any, Unit] = {}
    try:
        while True:
            while len(flying) < workers and (unit := next(waiting, _END)) is not _END:
                flying[task.remote(function, unit)] = unit  # type: ignore[assignment]
            if not flying:
                return
            (done,), _ = ray.wait(list(flying), num_returns=1)
            yield flying.pop(done), _result(ray, done)
    finally:
        for reference in flying:
            ray.cancel(reference, force=True)


_END: Any = object()


def _call(function: Callable[[Unit], Result], unit: Unit) -> Result:
    return function(unit)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        raise InfraError(
            "a worker process died again and again",
            why=str(error).splitlines()[0],
            do="give it fewer workers, then run the same command again: finished units are kept",
        ) from error
