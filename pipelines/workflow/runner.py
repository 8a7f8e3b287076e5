"""The loop that carries out a plan: start what is ready, watch it, retry what the machine broke, stop cleanly.

It holds no state a restart would need. A killed driver leaves leases that nobody renews and jobs that go on; the next
run takes over the first and attaches to the second.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.errors import CookhouseError, InfraError
from pipelines.workflow.backends import Backend, Handle, JobState
from pipelines.workflow.execute import Outcome, Spec
from pipelines.workflow.files import read_json
from pipelines.workflow.keys import SHORT
from pipelines.workflow.lease import Lease
from pipelines.workflow.plan import Decision, Plan, PlannedStep
from pipelines.workflow.store import Record, Store

RETRIES = 2
BACKOFF_S = (1.0, 5.0)
POLL_S = 0.1
ASK_BACKEND_S = 1.0
"""How often the backend is asked; in between, the files of the attempt say more and cost less."""


class Listener(Protocol):
    """Who hears what a run does: its JSONL file and the terminal."""

    def event(self, kind: str, **fields: Any) -> None:
        """Something happened to the run or a step (``step_started`` ...); recorded."""

    def progress(self, step: str, lines: Sequence[str]) -> None:
        """New JSONL lines of a step's own events; they stand in its attempt already and are only shown."""


@dataclass
class StepResult:
    """How one step of a run ended: ``hit``, ``ok``, ``failed``, ``killed``, ``blocked`` or ``waiting`` (never
    started)."""

    name: str
    status: str
    record: Record | None = None
    seconds: float = 0.0
    error: CookhouseError | None = None
    attempts: int = 0
    log: Path | None = None


@dataclass
class _Active:
    planned: PlannedStep
    lease: Lease
    started: float = field(default_factory=time.monotonic)
    handle: Handle | None = None
    attempts: int = 0
    not_before: float = 0.0
    asked: float = 0.0
    read: int = 0


class Runner:
    """Carries out one plan on one backend. ``backend`` is a callable, so that a plan of HITs starts nothing."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        backend: Callable[[], Backend],
        listener: Listener,
        *,
        run_id: str,
        max_parallel: int = 1,
        stop_wait_s: float = 20.0,
    ) -> None:
        self.store, self.plan, self.run_id = store, plan, run_id
        self.emit, self.show = listener.event, listener.progress
        self.max_parallel, self.stop_wait_s = max_parallel, stop_wait_s
        self._make_backend = backend
        self._backend: Backend | None = None
        self.results: dict[str, StepResult] = {}
        self._active: dict[str, _Active] = {}

    @property
    def backend(self) -> Backend:
        if self._backend is None:
            self._backend = self._make_backend()
        return self._backend

    def run(self) -> dict[str, StepResult]:
        """Results by step. Raises KeyboardInterrupt after everything was stopped and released; a LockError or
        InfraError that kept a step from starting is in its result."""
        try:
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
                    self._finish(StepResult(planned.name, "hit", planned.facts.record), planned)
            if self.plan.work:
                self.emit("backend_ready", **self.backend.describe())
            self._loop()
        except BaseException:
            self._abandon()
            raise
        finally:
            if self._backend is not None:
                self._backend.close()
        for planned in self.plan.steps:
            self.results.setdefault(planned.name, StepResult(planned.name, "waiting"))
        return self.results

    def _loop(self) -> None:
        while True:
            failed = any(result.status == "failed" for result in self.results.values())
            for planned in () if failed else self.plan.work:
                if len(self._active) < self.max_parallel and self._is_ready(planned):
                    self._begin(planned)
                    break
            if not self._active:
                if failed or not any(self._is_ready(planned) for planned in self.plan.work):
                    return
                continue
            for active in list(self._active.values()):
                self._advance(active)
            if self._active:
                time.sleep(POLL_S)

    def _is_ready(self, planned: PlannedStep) -> bool:
        return (
            planned.name not in self.results
            and planned.name not in self._active
            and all(self.results.get(parent, _NOTHING).record is not None for parent in planned.keyed.step.parents)
        )

    def _begin(self, planned: PlannedStep) -> None:
        try:
            lease = Lease.acquire(planned.facts.folder, run_id=self.run_id, step=planned.name)
        except CookhouseError as error:
            self._finish(StepResult(planned.name, "failed", error=error), planned)
            return
        self._active[planned.name] = _Active(planned, lease)

    def _advance(self, active: _Active) -> None:
        """One look at a step: start its next attempt, or see how the current one is doing."""
        try:
            if self._committed(active):
                self._succeed(active)
            elif active.handle is None:
                if time.monotonic() >= active.not_before:
                    self._start_attempt(active)
            else:
                self._watch(active)
        except CookhouseError as error:
            self._fail_or_retry(active, error)

    def _start_attempt(self, active: _Active) -> None:
        planned = active.planned
        active.attempts += 1
        found = self._living_attempt(active)
        if found is None:
            spec, submission = self._prepare(planned)
            attempt = Path(spec.attempt)
            self.emit("step_started", step=planned.name, key=planned.key, attempt_dir=str(attempt), reattached=False)
            active.read = 0
            active.handle = Handle(submission, attempt)
            active.handle = self.backend.submit(spec, submission)
        else:
            active.handle, active.read = found, 0
            self.emit(
                "step_started", step=planned.name, key=planned.key, attempt_dir=str(found.attempt), reattached=True
            )

    def _living_attempt(self, active: _Active) -> Handle | None:
        """An attempt of this key that a driver before us left running."""
        for _, folder in reversed(self.store.attempts(active.planned.facts.folder, active.planned.generation)):
            submission = (read_json(folder / "attempt.json") or {}).get("submission")
            if submission and Outcome.read(folder) is None:
                handle = Handle(submission, folder)
                if self.backend.status(handle).live:
                    return handle
        return None

    def _prepare(self, planned: PlannedStep) -> tuple[Spec, str]:
        step, probed = planned.keyed.step, planned.keyed.probed
        attempt = self.store.begin(
            planned.facts.folder,
            generation=planned.generation,
            submission=f"{step.name}-{planned.key[:SHORT]}-a{{number}}",
        )
        parents = {port: [(name, self.results[name].record) for name in names] for port, names in step.inputs.items()}
        spec = Spec(
            stage=step.definition.dotted,
            step=step.name,
            key=planned.key,
            document=planned.keyed.document,
            config=probed.config.model_dump(mode="json"),
            inputs={
                port: [
                    {"step": name, "key": record.key, "folder": str(record.folder)} for name, record in items if record
                ]
                for port, items in parents.items()
            },
            sources={
                name: [[str(file.path), file.name, file.size, file.sha256] for file in files]
                for name, files in probed.files.items()
            },
            attempt=str(attempt.dir),
            root=str(attempt.root),
            elders=[str(elder) for elder in attempt.elders],
            generation=planned.generation,
            limit=planned.keyed.document.get("limit"),
            cwd=os.getcwd(),
            uses_ray=step.definition.uses_ray,
        )
        spec.write()
        return spec, str((read_json(attempt.dir / "attempt.json") or {})["submission"])

    def _watch(self, active: _Active) -> None:
        handle = active.handle
        assert handle is not None
        self._follow(active)
        if active.lease.lost.is_set():
            self.backend.cancel(handle)
            raise InfraError(
                f"step '{active.planned.name}' lost its lease",
                where=str(active.lease.path),
                why="another run took it over",
                do="look at cookhouse status, then run again",
            )
        outcome = Outcome.read(handle.attempt)
        now = time.monotonic()
        if outcome is None and now - active.asked >= ASK_BACKEND_S:
            active.asked = now
            state = self.backend.status(handle)
            outcome = Outcome.read(handle.attempt)  # it may have ended between the two looks
            if not state.live and outcome is None:
                outcome = self._died(active, handle, state)
        if outcome is None:
            return
        if self._committed(active):
            self._succeed(active)
        else:
            raise _error_of(outcome, active.planned.name)

    def _died(self, active: _Active, handle: Handle, state: JobState) -> Outcome:
        words = [line for line in self.backend.logs(handle).splitlines() if line.strip()]
        why = "its Ray is gone" if state is JobState.LOST else "it was killed (kill -9, out of memory, or a lost node)"
        return Outcome(
            "failed",
            "infra",
            f"the process of step '{active.planned.name}' ended without a word",
            handle.submission,
            why + (f"; last line: {words[-1][:200]}" if words else ""),
            "",
            str(handle.log),
        )

    def _follow(self, active: _Active) -> None:
        """Pass on the new events of the step itself (progress and metrics), for whoever shows them."""
        assert active.handle is not None
        try:
            with open(active.handle.attempt / "logs" / "events.jsonl", "rb") as file:
                file.seek(active.read)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text.rfind(b"\n") + 1
        active.read += whole
        if whole:
            self.show(active.planned.name, text[:whole].decode(errors="replace").splitlines())

    def _committed(self, active: _Active) -> bool:
        record = self.store.find(active.planned.keyed.step.definition.name, active.planned.key)
        return record is not None and record.generation >= active.planned.generation

    def _succeed(self, active: _Active) -> None:
        planned = active.planned
        if active.handle is not None:
            self._follow(active)
        record = self.store.find(planned.keyed.step.definition.name, planned.key)
        self._close(active, StepResult(planned.name, "ok" if active.handle else "hit", record))

    def _fail_or_retry(self, active: _Active, error: CookhouseError) -> None:
        if error.failure == "infra" and active.attempts <= RETRIES and not active.lease.lost.is_set():
            wait = BACKOFF_S[min(active.attempts, len(BACKOFF_S)) - 1]
            self.emit(
                "step_retry",
                step=active.planned.name,
                attempt=active.attempts,
                wait_s=wait,
                what=error.what,
                why=error.why,
            )
            active.handle, active.not_before = None, time.monotonic() + wait
        else:
            self._close(active, StepResult(active.planned.name, "failed", error=error))

    def _close(self, active: _Active, result: StepResult) -> None:
        result.seconds = time.monotonic() - active.started
        result.attempts = active.attempts
        result.log = active.handle.log if active.handle else None
        del self._active[active.planned.name]
        active.lease.release()
        self._finish(result, active.planned)

    def _finish(self, result: StepResult, planned: PlannedStep) -> None:
        self.results[result.name] = result
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
        """Stop what runs and give the leases back; what was committed stays."""
        for active in self._active.values():
            if active.handle is not None:
                self.backend.cancel(active.handle)
        deadline = time.monotonic() + self.stop_wait_s
        for active in list(self._active.values()):
            try:
                while active.handle and self.backend.status(active.handle).live and time.monotonic() < deadline:
                    time.sleep(POLL_S)
            finally:
                done = self._committed(active)
                record = (
                    self.store.find(active.planned.keyed.step.definition.name, active.planned.key) if done else None
                )
                self._close(active, StepResult(active.planned.name, "ok" if done else "killed", record))


_NOTHING = StepResult("", "waiting")


def _error_of(outcome: Outcome, step: str) -> CookhouseError:
    error = InfraError if outcome.failure == "infra" else CookhouseError
    raised = error(outcome.what or f"step '{step}' was stopped", where=outcome.where, why=outcome.why, do=outcome.do)
    raised.log = outcome.log  # type: ignore[attr-defined]
    return raised
