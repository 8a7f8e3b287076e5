"""The crew as Ray actors in one placement group. A rollout actor that dies, hangs or holds wrong weights is killed and
replaced, and its chunk is rolled again with the same seed; every wait has a deadline and says what it waited for.
"""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipelines.core.errors import CookhouseError, InfraError
from rl.crew.fleet import Fleet
from rl.crew.protocol import Published, Rolled
from rl.prompts import Chunk
from rl.records import Group, Judgement, LearnReport
from rl.rewards.verify import Case
from rl.settings import ReinforceConfig

_PLACEMENT_SECONDS = 60.0


@ray.remote(max_restarts=0, max_task_retries=0)
class Seat:
    """A process for one plain object, ``kind`` is its ``module:class``: what is heavy is imported there, and the reward
    seat never loads torch. Never restarted by Ray: the fleet decides, and the new process must prove its weights."""

    def __init__(self, *make: Any) -> None:
        if make:
            self.make(*make)

    def make(
        self, kind: str, arguments: Sequence[Any], threads: int = 0, environment: Mapping[str, str] | None = None
    ) -> None:
        os.environ.update(environment or {})
        if threads:
            import torch

            torch.set_num_threads(threads)
        module, _, name = kind.partition(":")
        self.made = getattr(importlib.import_module(module), name)(*arguments)

    def pid(self) -> int:
        return os.getpid()

    def address(self) -> tuple[str, int]:
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self.made, method)(*arguments)


class RayCrew:
    """``config.rollout_workers`` rollout actors, one reward actor, ``config.learners`` learner ranks; ``config`` is sized.
    Needs a running Ray."""

    def __init__(self, model_dir: Path, config: ReinforceConfig) -> None:
        self.config, self.model_dir = config, model_dir
        self.bundles, workers = config.bundles(), config.rollout_workers
        self.group = placement_group(
            [{"CPU": one.cpus} | ({"GPU": one.gpus} if one.gpus else {}) for one in self.bundles], strategy="PACK"
        )
        self.fleet = Fleet(workers)
        self.chunks: dict[str, tuple[Chunk, Published]] = {}
        self.running: dict[Any, tuple[int, Any, float]] = {}
        self.rolled: deque[tuple[Rolled, Any]] = deque()
        self.workers: list[Any] = []
        self.learners: list[Any] = []
        self.judges: Any = None
        try:
            self._await_placement()
            self.workers = [self._worker(slot) for slot in range(workers)]
            self.judges = self._reward_seat()
            self.learners = [self._seat(workers + 1 + rank) for rank in range(config.learners)]
            self._join(*self._get(self.learners[0].address.remote(), "the first learner to start"))
            self._get([seat.pid.remote() for seat in self.workers], "the rollout workers to load the model")
        except BaseException:
            self.close()
            raise

    def start(self, step: int, checkpoint: Path | None) -> None:
        self._all("start", step, checkpoint, what="the learners to start a seed")

    def publish(self) -> Published:
        """The weights go from rank 0 into the object store; what comes here is their version."""
        found = [seat.call.options(num_returns=2).remote("publish") for seat in self.learners]
        versions = self._get([version for version, _ in found], "the learners to publish weights")
        return Published(versions[0], found[0][1])

    def learn(self, groups: Sequence[Group]) -> Callable[[], LearnReport]:
        handles = list(dict.fromkeys(group.tensors for group in groups))
        shared = ray.put([replace(group, tensors=None) for group in groups])
        references = [seat.call.remote("learn", shared, *handles) for seat in self.learners]
        return lambda: self._get(references, "the learners to finish an update")[0]

    def save(self, directory: Path) -> None:
        self._all("save", directory, what="the learners to save a checkpoint")

    def export(self, directory: Path) -> None:
        self._all("export", directory, what="the learners to write the model")

    def _join(self, host: str, port: int) -> None:
        """Build the ranks, once the address of rank 0 is known."""
        world = {"WORLD_SIZE": str(len(self.learners)), "MASTER_ADDR": host, "MASTER_PORT": str(port)}
        made = ("rl.learner:Learner", (self.model_dir, self.config), self.config.learner_threads)
        joins = [
            seat.make.remote(*made, {"RANK": str(rank), "LOCAL_RANK": str(rank), **world})
            for rank, seat in enumerate(self.learners)
        ]
        self._get(joins, "the learners to start")

    def _all(self, method: str, *arguments: Any, what: str) -> None:
        self._get([seat.call.remote(method, *arguments) for seat in self.learners], what)

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """A dead reward actor is replaced once and asked again: judging has no state."""
        try:
            return self._get(self.judges.call.remote("judge", cases), "the reward actor")
        except InfraError as error:
            if not isinstance(error.__cause__, RayActorError):
                raise
            self.judges = self._reward_seat()
            return self._get(self.judges.call.remote("judge", cases), "the new reward actor")

    def _reward_seat(self) -> Any:
        bundle, deadline = self.config.rollout_workers, self.config.rewards.deadline
        return self._seat(bundle, "rl.rewards.service:RewardService", (deadline,))

    @property
    def replaced(self) -> int:
        return self.fleet.replacements

    def submit(self, chunks: Sequence[Chunk], published: Published) -> None:
        self.chunks |= {chunk.uid: (chunk, published) for chunk in chunks}
        self.fleet.submit(chunk.uid for chunk in chunks)
        self._assign()

    def collect(self) -> tuple[Rolled, Any]:
        """Take what is done, replace the dead, hand out what waits, until one chunk is whole."""
        while not self.rolled:
            patience = min(deadline for _, _, deadline in self.running.values()) - time.monotonic()
            ready, _ = ray.wait(list(self.running), num_returns=1, timeout=max(0.1, patience), fetch_local=True)
            for reference in ready:
                self._receive(reference)
            for reference, (slot, _, deadline) in list(self.running.items()):
                if time.monotonic() > deadline:
                    del self.running[reference]
                    self.fleet.failed(slot, f"no answer in {self.config.deadline:.0f} s")
            for slot in self.fleet.dead():
                ray.kill(self.workers[slot])
                self.workers[slot] = self._worker(slot)  # it loads the model while others go on
                self.fleet.replaced(slot)
            self._assign()
        return self.rolled.popleft()

    def _assign(self) -> None:
        while job := self.fleet.assign():
            slot, (chunk, published) = job[0], self.chunks[job[1]]
            call = self.workers[slot].call.options(num_returns=2)  # two objects: the tensors never come here
            light, heavy = call.remote("roll", chunk, published.weights)
            self.running[light] = (slot, heavy, time.monotonic() + self.config.deadline)

    def _receive(self, reference: Any) -> None:
        """One finished chunk: kept, or its worker declared dead. A fault of the data or the program is raised as it
        is."""
        slot, heavy, _ = self.running.pop(reference)
        try:
            light = ray.get(reference)
        except RayTaskError as error:
            cause = _cause(error)
            if not isinstance(cause, InfraError | MemoryError):
                raise cause from error
            self.fleet.failed(slot, str(cause).splitlines()[0])
        except RayError as error:
            self.fleet.failed(slot, str(error).splitlines()[0])
        else:
            del self.chunks[self.fleet.done(slot)]
            self.rolled.append((light, heavy))

    def _worker(self, slot: int) -> Any:
        return self._seat(slot, "rl.worker:RolloutWorker", (self.model_dir, self.config), self.config.rollout_threads)

    def close(self) -> None:
        """Ends every actor (the judges' child dies with its parent) and gives the resources back; safe to call twice."""
        for seat in [*self.workers, *self.learners, *filter(None, [self.judges])]:
            ray.kill(seat)
        self.workers, self.learners, self.judges = [], [], None
        if self.group is not None:
            remove_placement_group(self.group)
            self.group = None

    def _seat(self, bundle: int, *make: Any) -> Any:
        where = PlacementGroupSchedulingStrategy(placement_group=self.group, placement_group_bundle_index=bundle)
        holds = self.bundles[bundle]
        return Seat.options(num_cpus=holds.cpus, num_gpus=holds.gpus, scheduling_strategy=where).remote(*make)  # type: ignore[attr-defined]

    def _await_placement(self) -> None:
        if not self.group.wait(timeout_seconds=_PLACEMENT_SECONDS):
            there, free = ray.cluster_resources(), ray.available_resources()
            cpus, gpus = sum(one.cpus for one in self.bundles), sum(one.gpus for one in self.bundles)
            raise InfraError(
                f"no place for the RL actors after {_PLACEMENT_SECONDS:.0f} s",
                why=f"they ask for {cpus:.2f} CPUs and {gpus:g} GPUs; the cluster has {there.get('CPU', 0)} and "
                f"{there.get('GPU', 0)}, free now {free.get('CPU', 0)} and {free.get('GPU', 0)}",
                do="wait for other work to end, add nodes, or lower rollout_workers, rollout_cpus or learner_cpus "
                "(rollout_gpus, learner_gpus)",
            )

    def _get(self, references: Any, what: str) -> Any:
        try:
            return ray.get(references, timeout=self.config.deadline)
        except GetTimeoutError as error:
            raise InfraError(
                f"waited {self.config.deadline:.0f} s for {what}",
                do="read the actor's log; raise deadline if it is only slow",
            ) from error
        except RayActorError as error:
            raise InfraError(
                f"a process died while the run waited for {what}",
                why=str(error).strip(),
                do="run again: it goes on from the last checkpoint",
            ) from error
        except RayTaskError as error:
            raise _cause(error) from error


def _cause(error: RayTaskError) -> BaseException:
    """The exception inside Ray's wrapper: ours as it is, any other with its traceback kept in the wrapper's text."""
    cause = error.cause
    return cause if isinstance(cause, CookhouseError | MemoryError) else error
