"""Work as tasks and actors of a Ray cluster: the executor of a step that was sent to one or runs inside one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.core.errors import InfraError
from pipelines.core.executor import Actor, Executor, InProcess, Resources, Result, Unit

RESTARTS = 3
"""A task whose process dies is run again so many times, an actor started again."""


def executor_here(address: str | None = None) -> Executor:
    """The executor of a step that runs in this process: on the Ray at ``address``, by default the ``RAY_ADDRESS`` that a
    cluster tells its jobs; this process alone where there is none. Given an address it takes no other Ray that it may
    find on the machine. Raises InfraError when it cannot join."""
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        return InProcess()
    os.environ["RAY_ADDRESS"] = address
    import ray

    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=True)
    except Exception as error:
        do = "run the same command again"
        raise InfraError("the step could not join its Ray", where=address, why=str(error), do=do) from error
    return RayExecutor()


class RayExecutor:
    """On the Ray this process is connected to."""

    distributed = True

    def map(
        self, function: Callable[[Unit], Result], units: Iterable[Unit], resources: Resources, *, at_once: int
    ) -> Iterator[tuple[Unit, Result]]:
        import ray

        task: Any = ray.remote(_call).options(max_retries=RESTARTS, **_reserved(resources))
        waiting = iter(units)
        flying: dict[Any, Unit] = {}
        try:
            while True:
                while len(flying) < max(1, at_once) and (unit := next(waiting, _END)) is not _END:
                    flying[task.remote(function, unit)] = unit  # type: ignore[assignment]
                if not flying:
                    return
                (done,), _ = ray.wait(list(flying), num_returns=1)
                yield flying.pop(done), _result(done)
        finally:
            for reference in flying:
                ray.cancel(reference, force=True)

    @contextmanager
    def actors(
        self, kind: Callable[..., Any], arguments: Sequence[Any], count: int, resources: Resources
    ) -> Iterator[Sequence[Actor]]:
        import ray

        remote: Any = ray.remote(kind).options(max_restarts=RESTARTS, max_task_retries=RESTARTS, **_reserved(resources))
        made = [RayActor(remote.remote(*arguments)) for _ in range(count)]
        try:
            yield made
        finally:
            for actor in made:
                ray.kill(actor.handle)


@dataclass(frozen=True)
class RayActor:
    """May be sent along to tasks."""

    handle: Any

    def call(self, method: str, *arguments: Any) -> Any:
        return _result(getattr(self.handle, method).remote(*arguments))


_END: Any = object()


def _call(function: Callable[[Unit], Result], unit: Unit) -> Result:
    return function(unit)


def _reserved(resources: Resources) -> dict[str, float | None]:
    return {"num_cpus": resources.cpus, "num_gpus": resources.gpus, "memory": resources.memory or None}


def _result(reference: Any) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.RayActorError,
    ) as error:
        raise InfraError(
            "a worker process died again and again",
            why=str(error).splitlines()[0],
            do="give it fewer workers, then run the same command again: finished units are kept",
        ) from error
