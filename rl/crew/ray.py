"""The crew as Ray actors in one placement group. A rollout actor that dies, hangs or holds wrong weights is killed and
replaced, and its chunk is rolled again with the same seed; every wait has a deadline and says what it waited for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from pipelines.core.errors import CookhouseError, InfraError
from rl.crew.actors import LearnerActor, RewardActor, RolloutActor
from rl.crew.fleet import Fleet
from rl.crew.protocol import Published, Rolled, prove
from rl.prompts import Chunk
from rl.records import Group, Judgement, LearnReport
from rl.rewards.verify import Case
from rl.settings import ReinforceConfig

T = TypeVar("T")
_PLACEMENT_SECONDS = 60.0


class RayCrew:
    """``config.rollout_workers`` rollout actors, one reward actor, ``config.learners`` learner ranks; ``config`` is sized.
    Needs a running Ray."""

    def __init__(self, model_dir: Path, config: ReinforceConfig) -> None:
        self.config, self.model_dir = config, str(model_dir)
        workers, ranks = config.rollout_workers, config.learners
        cpus = [config.rollout_cpus] * workers + [config.reward_cpus] + [config.learner_cpus] * ranks
        self.group = placement_group([{"CPU": amount} for amount in cpus], strategy="PACK")
        self.fleet = Fleet(workers)
        self.workers: list[Any] = []
        self.learners: list[Any] = []
        try:
            self._await_placement(sum(cpus))
            self.workers = [self._worker(slot) for slot in range(workers)]
            self.judges = self._reward_actor()
            self.learners = [_spawn(LearnerActor, self._place(workers + 1 + rank)) for rank in range(ranks)]
            address = self._get(self.learners[0].address.remote(), "the first learner to start")
            joins = [
                actor.join.remote(rank, address, self.model_dir, config) for rank, actor in enumerate(self.learners)
            ]
            self._get(joins, "the learners to load the model")
            self._get([actor.ready.remote() for actor in self.workers], "the rollout workers to load the model")
        except BaseException:
            self.close()
            raise

    # -- learner -----------------------------------------------------------------------------------------------------

    def start(self, step: int, checkpoint: Path | None) -> None:
        self._all("start", step, None if checkpoint is None else str(checkpoint), what="the learners to start a seed")

    def publish(self) -> Published:
        version, references = self._all("publish", what="the learners to publish weights")[0]
        return Published(version, references[0])

    def learn(self, groups: Sequence[Group], tensors: Sequence[Any]) -> _Learning:
        shared = ray.put(list(groups))
        return _Learning(self, [actor.learn.remote(shared, *tensors) for actor in self.learners])

    def save(self, directory: Path) -> None:
        self._all("save", str(directory), what="the learners to save a checkpoint")

    def export(self, directory: Path) -> None:
        self._all("export", str(directory), what="the learners to write the model")

    def _all(self, method: str, *arguments: Any, what: str) -> list[Any]:
        return self._get([getattr(actor, method).remote(*arguments) for actor in self.learners], what)

    # -- reward ------------------------------------------------------------------------------------------------------

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        """A dead reward actor is replaced once and asked again: judging has no state."""
        try:
            return self._get(self.judges.judge.remote(cases), "the reward actor")
        except RayActorError:
            self.judges = self._reward_actor()
            return self._get(self.judges.judge.remote(cases), "the new reward actor")

    def _reward_actor(self) -> Any:
        return _spawn(RewardActor, self._place(self.config.rollout_workers), self.config.rewards.deadline)

    # -- rollout -----------------------------------------------------------------------------------------------------

    def roll(self, chunks: Sequence[Chunk], published: Published) -> _Rolling:
        return _Rolling(self, chunks, published)

    def replace(self, slot: int) -> None:
        """A new process in a dead worker's place; it loads the model while others go on."""
        ray.kill(self.workers[slot])
        self.workers[slot] = self._worker(slot)
        self.fleet.replaced(slot)

    def _worker(self, slot: int) -> Any:
        return _spawn(RolloutActor, self._place(slot), self.model_dir, self.config)

    # -- common ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends every actor and gives the resources back; safe to call twice."""
        if getattr(self, "judges", None) is not None:
            with contextlib.suppress(RayError):
                ray.get(self.judges.close.remote(), timeout=5)
        for actor in [*self.workers, *self.learners, *filter(None, [getattr(self, "judges", None)])]:
            ray.kill(actor)
        self.workers, self.learners, self.judges = [], [], None
        if self.group is not None:
            remove_placement_group(self.group)
            self.group = None

    def _place(self, bundle: int) -> dict[str, Any]:
        strategy = PlacementGroupSchedulingStrategy(placement_group=self.group, placement_group_bundle_index=bundle)
        return {"num_cpus": self.group.bundle_specs[bundle]["CPU"], "scheduling_strategy": strategy}

    def _await_placement(self, wanted: float) -> None:
        if not self.group.wait(timeout_seconds=_PLACEMENT_SECONDS):
            raise InfraError(
                f"no place for the RL actors after {_PLACEMENT_SECONDS:.0f} s",
                why=f"they ask for {wanted:.2f} CPUs; the cluster has {ray.cluster_resources().get('CPU', 0)}, "
                f"free now {ray.available_resources().get('CPU', 0)}",
                do="wait for other work to end, add nodes, or lower rollout_workers, rollout_cpus or learner_cpus",
            )

    def _get(self, references: Any, what: str) -> Any:
        try:
            return ray.get(references, timeout=self.config.deadline)
        except GetTimeoutError as error:
            raise InfraError(
                f"waited {self.config.deadline:.0f} s for {what}",
                do="read the actor's log; raise deadline if it is only slow",
            ) from error
        except RayTaskError as error:
            raise _cause(error) from error


class _Learning:
    """An update under way on every rank; the report is rank 0's."""

    def __init__(self, crew: RayCrew, references: list[Any]) -> None:
        self.crew, self.references = crew, references

    def result(self) -> LearnReport:
        try:
            return self.crew._get(self.references, "the learners to finish an update")[0]
        except RayActorError as error:
            raise InfraError(
                "a learner process died", why=str(error), do="run again: it goes on from the last checkpoint"
            ) from error


class _Rolling:
    """A batch under way. ``result`` drives it: collects, replaces the dead, hands out what waits."""

    def __init__(self, crew: RayCrew, chunks: Sequence[Chunk], published: Published) -> None:
        self.crew, self.published, self.begun = crew, published, time.perf_counter()
        self.chunks = {chunk.uid: chunk for chunk in chunks}
        self.running: dict[Any, tuple[int, Any, float]] = {}
        self.done: dict[str, tuple[Any, Any]] = {}
        self.replaced = 0
        crew.fleet.submit(self.chunks)
        self._assign()

    def result(self) -> Rolled:
        fleet = self.crew.fleet
        while not fleet.finished:
            ready, _ = ray.wait(list(self.running), num_returns=1, timeout=self._patience(), fetch_local=True)
            for reference in ready:
                self._collect(reference)
            for reference, (slot, _, deadline) in list(self.running.items()):
                if time.monotonic() > deadline:
                    del self.running[reference]
                    fleet.failed(slot, f"no answer in {self.crew.config.deadline:.0f} s")
            for slot in fleet.dead():
                self.crew.replace(slot)
                self.replaced += 1
            self._assign()
        chunks = [self.done[uid] for uid in self.chunks]
        rollouts = tuple(rollout for light, _ in chunks for rollout in light.rollouts)
        failures = {uid: reason for light, _ in chunks for uid, reason in light.failures.items()}
        return Rolled(
            rollouts, tuple(heavy for _, heavy in chunks), failures, time.perf_counter() - self.begun, self.replaced
        )

    def _assign(self) -> None:
        while job := self.crew.fleet.assign():
            slot, uid = job
            light, heavy = self.crew.workers[slot].roll.remote(self.chunks[str(uid)], self.published.weights)
            self.running[light] = (slot, heavy, time.monotonic() + self.crew.config.deadline)

    def _patience(self) -> float:
        return max(0.1, min(deadline for _, _, deadline in self.running.values()) - time.monotonic())

    def _collect(self, reference: Any) -> None:
        """One finished chunk: kept, or its worker declared dead. A fault of the data or the program is raised as it
        is."""
        slot, heavy, _ = self.running.pop(reference)
        try:
            light = ray.get(reference)
            prove(self.published.version, light.version, f"rollout worker {slot}")
        except RayTaskError as error:
            cause = _cause(error)
            if not isinstance(cause, InfraError | MemoryError):
                raise cause from error
            self.crew.fleet.failed(slot, str(cause).splitlines()[0])
            return
        except (RayError, InfraError) as error:
            self.crew.fleet.failed(slot, str(error).splitlines()[0])
            return
        self.done[str(self.crew.fleet.done(slot))] = (light, heavy)


def _spawn(actor: Any, where: dict[str, Any], *arguments: Any) -> Any:
    return actor.options(**where).remote(*arguments)


def _cause(error: RayTaskError) -> BaseException:
    """The exception inside Ray's wrapper: ours as it is, any other with its traceback kept in the wrapper's text."""
    cause = error.cause
    return cause if isinstance(cause, CookhouseError | MemoryError) else error
