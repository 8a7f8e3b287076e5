"""The loop that carries out a plan: start what is ready, watch it, retry what the machine broke, stop cleanly.

It holds no state a restart would need. A killed driver leaves leases that nobody renews and jobs that go on; the next
run takes over the first and attaches to the second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from pipelines.core.errors import CookhouseError, LockError
from pipelines.core.executor import ONE_CPU, Demand, Resources
from pipelines.core.storage import Place
from pipelines.workflow import lease as leases
from pipelines.workflow.backends import Backend
from pipelines.workflow.changes import Changes, Differ, broken_promise, changed_files
from pipelines.workflow.lease import Lease
from pipelines.workflow.plan import Decision, Plan, PlannedStep
from pipelines.workflow.ready import LEAST, ReadySet, admits, refuse_missing
from pipelines.workflow.runs import EVERY_STEP
from pipelines.workflow.store import Record, Store
from pipelines.workflow.watch import Timeouts, Watch

RETRIES = 2
BACKOFF_S = (1.0, 5.0)
POLL_S = 0.1
TOLD_CHANGES = 100
"""Names of changed files or samples that an event holds."""
ASK_LEASE_S = 1.0
"""How often a step that another run makes is looked at."""


class Listener(Protocol):
    """Who hears what a run does: its journal and the terminal."""

    def event(self, kind: str, **fields: Any) -> None:
        """Something happened to the run or a step (``step_started`` ...)."""

    def progress(self, step: str, events: Sequence[Mapping[str, Any]]) -> None:
        """New events of the step itself (progress and metrics); they stand in its attempt already and are only shown."""


@dataclass(frozen=True)
class Rules:
    """How a run goes about its plan. ``max_parallel`` None leaves it to the ``cluster``; ``keep_going`` runs branches that
    do not depend on a failed step; ``wait`` waits for another run that makes the same step instead of failing with it.
    ``timeouts`` by step name, ``""`` for every other step."""

    max_parallel: int | None = None
    cluster: Resources = ONE_CPU
    keep_going: bool = False
    wait: bool = True
    stop_wait_s: float = 20.0
    timeouts: Mapping[str, Timeouts] = field(default_factory=dict)


@dataclass
class StepResult:
    """How one step of a run ended: ``hit``, ``ok``, ``failed``, ``killed``, ``blocked`` or ``waiting`` (never
    started). ``changes``: it was made again, promises bytes, and gave others."""

    name: str
    status: str
    record: Record | None = None
    seconds: float = 0.0
    error: CookhouseError | None = None
    attempts: int = 0
    log: Place | None = None
    changes: Changes | None = None


class Runner:
    """``backend`` is a callable, so that a plan of HITs starts nothing; ``asked_to_stop`` gives the steps somebody wants
    stopped, ``differ`` says what of a rebuilt result is other."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        backend: Callable[[], Backend],
        listener: Listener,
        *,
        run_id: str,
        rules: Rules = Rules(),
        asked_to_stop: Callable[[], set[str]] = set,
        differ: Differ = changed_files,
    ) -> None:
        self.store, self.plan, self.run_id, self.rules = store, plan, run_id, rules
        self.emit, self.show = listener.event, listener.progress
        self.asked_to_stop, self.differ = asked_to_stop, differ
        self._make_backend = backend
        self.results: dict[str, StepResult] = {}
        self._active: dict[str, Watch] = {}
        self._waiting: dict[str, float] = {}
        work = {planned.name for planned in plan.work}
        self._ready = ReadySet(
            {item.name: [name for name in item.keyed.step.parents if name in work] for item in plan.work}
        )
        self._asked = 0.0
        self._failed = False

    @cached_property
    def backend(self) -> Backend:
        return self._make_backend()

    def run(self) -> dict[str, StepResult]:
        """Results by step. Raises ConfigError before anything starts when the cluster lacks GPUs or memory of a step,
        KeyboardInterrupt after everything was stopped and released; a LockError or InfraError that kept a step from
        starting is in its result."""
        try:
            for planned in self.plan.work:
                refuse_missing(planned.name, planned.keyed.step.config.demand(), self.rules.cluster)
            for planned in self.plan.steps:
                self.emit(
                    "step_planned",
                    step=planned.name,
                    stage=planned.keyed.step.definition.name,
                    key=planned.key,
                    decision=str(planned.decision),
                )
                if planned.decision is Decision.BLOCKED:
                    self.results[planned.name] = StepResult(planned.name, "blocked")
                elif not planned.works:
                    self._finish(StepResult(planned.name, "hit", planned.facts.record))
            if self.plan.work:
                self.emit("backend_ready", **self.backend.describe())
            self._loop()
        except BaseException:
            self._abandon()
            raise
        finally:
            if "backend" in vars(self):
                self.backend.close()
        for planned in self.plan.steps:
            self.results.setdefault(planned.name, StepResult(planned.name, "waiting"))
        return self.results

    def _loop(self) -> None:
        while True:
            self._begin_ready()
            if not self._active and not self._waiting:
                if self._stopping or not self._ready:
                    return
                continue
            self._heed_wishes()
            for name, asked in list(self._waiting.items()):
                if time.monotonic() - asked >= ASK_LEASE_S:
                    self._waiting[name] = time.monotonic()
                    if leases.holder(self.plan[name].facts.folder) is None:
                        self._begin(self.plan[name])
            moved = [self._advance(watch) for watch in list(self._active.values())]
            if not any(moved) and (self._active or self._waiting):
                time.sleep(POLL_S)

    @property
    def _stopping(self) -> bool:
        """A step failed and nothing new is to be started."""
        return self._failed and not self.rules.keep_going

    def _begin_ready(self) -> None:
        while self._ready and not self._stopping:
            running = [self._demand(name) for name in self._active]
            room: Any = {"running": running, "cluster": self.rules.cluster, "max_parallel": self.rules.max_parallel}
            if not admits(LEAST, **room):
                return  # full: no look at every ready step
            name = self._ready.take(lambda name, room=room: admits(self._demand(name), **room))  # type: ignore[misc]
            if name is None:
                return
            self._begin(self.plan[name])

    def _demand(self, name: str) -> Demand:
        step = self.plan[name].keyed.step
        demand = step.config.demand()
        return demand if step.definition.uses_ray else Demand(demand.whole)

    def _begin(self, planned: PlannedStep) -> None:
        step = planned.keyed.step
        try:
            lease = Lease.acquire(planned.facts.folder, run_id=self.run_id, step=planned.name)
        except CookhouseError as error:
            if not isinstance(error, LockError) or not self.rules.wait:
                self._finish(StepResult(planned.name, "failed", error=error))
                return
            if planned.name not in self._waiting:
                self.emit("step_waiting", step=planned.name, key=planned.key, why=error.why)
            self._waiting[planned.name] = time.monotonic()
            return
        self._waiting.pop(planned.name, None)
        parents = {name: record for name in step.parents if (record := self.results[name].record) is not None}
        limits = self.rules.timeouts.get(planned.name) or self.rules.timeouts.get("") or Timeouts()
        watch = Watch(self.store, planned, lease, parents, limits)
        self._active[planned.name] = watch
        try:
            if (record := watch.committed()) is not None:  # made between the plan and the lease
                self._close(watch, StepResult(planned.name, "hit", record))
        except CookhouseError as error:
            self._fail_or_retry(watch, error)

    def _heed_wishes(self) -> None:
        if time.monotonic() - self._asked < ASK_LEASE_S:
            return
        self._asked = time.monotonic()
        wanted = self.asked_to_stop()
        if EVERY_STEP in wanted:
            raise KeyboardInterrupt
        for name in wanted & set(self._active):
            watch = self._active[name]
            if watch.handle is not None:
                self.backend.cancel(watch.handle)

    def _advance(self, watch: Watch) -> bool:
        """One look at a step: start its next attempt, or see how the current one is doing. True when something
        happened, so that another look at once is worth it."""
        try:
            begins = watch.handle is None
            if begins:
                if time.monotonic() < watch.not_before:
                    return False
                watch.start(self.backend, self._tell_begun, self._follow)  # in this process it then has ended
            self._follow(watch)
            outcome = watch.look(self.backend)
            if outcome is None:
                return begins
            self._follow(watch, last=True)
            if (record := watch.committed()) is not None:
                self._close(watch, StepResult(watch.name, "ok", record))
            elif outcome.status == "killed":
                self._close(watch, StepResult(watch.name, "killed", error=watch.ended_badly(outcome)))
            else:
                raise watch.ended_badly(outcome)
        except CookhouseError as error:
            self._fail_or_retry(watch, error)
        return True

    def _tell_begun(self, watch: Watch) -> None:
        assert watch.handle is not None
        self.emit(
            "step_started",
            step=watch.name,
            key=watch.planned.key,
            attempt_dir=str(watch.handle.attempt),
            reattached=watch.reattached,
        )

    def _follow(self, watch: Watch, *, last: bool = False) -> None:
        if events := watch.events(last=last):
            self.show(watch.name, events)

    def _fail_or_retry(self, watch: Watch, error: CookhouseError) -> None:
        if error.failure == "infra" and watch.attempts <= RETRIES and not watch.lease.lost.is_set():
            wait = BACKOFF_S[min(max(1, watch.attempts), len(BACKOFF_S)) - 1]
            self.emit(
                "step_retry", step=watch.name, attempt=watch.attempts, wait_s=wait, what=error.what, why=error.why
            )
            watch.handle, watch.not_before = None, time.monotonic() + wait
        else:
            self._close(watch, StepResult(watch.name, "failed", error=error))

    def _close(self, watch: Watch, result: StepResult) -> None:
        result.seconds = time.monotonic() - watch.started
        result.attempts = watch.attempts
        result.log = watch.handle.log if watch.handle else None
        del self._active[watch.name]
        watch.lease.release()
        if result.status == "ok" and result.record is not None:
            result.changes = self._compare(result.name, result.record)
        self._finish(result)

    def _compare(self, step: str, record: Record) -> Changes | None:
        """Say when a step made again broke its promise. What cannot be compared any more (``gc``) costs no result."""
        try:
            changes = broken_promise(record, self.differ)
        except CookhouseError:
            return None
        if changes is not None:
            told = {**vars(changes), "names": changes.names[:TOLD_CHANGES], "total": len(changes.names)}
            self.emit("bytes_changed", step=step, key=record.key, generation=record.generation, **told)
        return changes

    def _finish(self, result: StepResult) -> None:
        self.results[result.name] = result
        self._failed = self._failed or result.status in ("failed", "killed")
        planned = self.plan[result.name]
        if planned.works:
            self._ready.finish(result.name, ok=result.record is not None)
        self.emit(
            "step_finished",
            step=result.name,
            key=planned.key,
            status=result.status,
            artifact_json=str(result.record.file) if result.record else None,
            seconds=round(result.seconds, 3),
            **({"what": result.error.what} if result.error else {}),
        )

    def _abandon(self) -> None:
        """Stop what runs and give the leases back; what was committed stays. A second interrupt meanwhile kills."""
        for watch in self._active.values():
            if watch.handle is not None:
                self.backend.cancel(watch.handle)
        deadline = time.monotonic() + self.rules.stop_wait_s
        for watch in list(self._active.values()):
            try:
                while watch.handle and self.backend.status(watch.handle).live and time.monotonic() < deadline:
                    time.sleep(POLL_S)
            except KeyboardInterrupt:
                deadline = 0.0
            finally:
                if deadline == 0.0 and watch.handle is not None:
                    watch.kill()
                record = watch.committed()
                self._close(watch, StepResult(watch.name, "ok" if record else "killed", record))
