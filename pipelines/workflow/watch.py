"""One step of a run while it is made: its lease, its attempts, the job that works, and how long it may take.

The runner holds one ``Watch`` a step in flight and calls ``look`` again and again. Nothing here blocks, but for a backend
that works in this very process: its ``submit`` returns when the step has ended, and a thread follows the events meanwhile.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Any

from pipelines.core import storage
from pipelines.core.errors import CookhouseError, DataError, InfraError
from pipelines.core.events import parse_events
from pipelines.core.identity import Record as Settings
from pipelines.core.meanwhile import meanwhile
from pipelines.core.trail import Trail
from pipelines.workflow import process
from pipelines.workflow.backends import Backend, Handle, JobState
from pipelines.workflow.execute import Outcome, Spec
from pipelines.workflow.files import read_json
from pipelines.workflow.keys import SHORT
from pipelines.workflow.lease import Lease
from pipelines.workflow.plan import PlannedStep
from pipelines.workflow.store import Record, Store, read_record

ASK_BACKEND_S = 1.0
"""How often the backend is asked; in between, the files of the attempt say more and cost less."""
LOOK_REMOTE_S = 2.0
"""How often the files of an attempt in a remote store are looked at."""
NEVER = float("-inf")
"""No time of the monotonic clock, which starts at 0 when the machine does."""
FOLLOW_S = 0.25
"""How often the events of a step are looked at while it works in this very process."""


class Timeouts(Settings):
    """Seconds, None for no limit. ``queue_s``: accepted but not started; ``start_s``: started but its process has not
    reported; ``progress_s``: no new event of the step; ``wall_s``: the attempt as a whole. The first three are failures
    of the machine and retried, the last is not."""

    queue_s: float | None = None
    start_s: float | None = None
    progress_s: float | None = None
    wall_s: float | None = None


@dataclass
class Watch:
    """``parents`` are the committed inputs by step name. ``events`` gives what is new of the current attempt."""

    store: Store
    planned: PlannedStep
    lease: Lease
    parents: dict[str, Record]
    timeouts: Timeouts

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.handle: Handle | None = None
        self.reattached = False
        self.attempts = 0
        self.not_before = 0.0
        self._trail: Trail | None = None
        self._remote = isinstance(self.planned.facts.folder, storage.Remote)

    @property
    def name(self) -> str:
        return self.planned.name

    def committed(self) -> Record | None:
        record = read_record(self.planned.facts.folder)
        if record is None or record.key != self.planned.key or record.generation < self.planned.generation:
            return None
        return record

    def start(self, backend: Backend, begun: Callable[[Watch], None], follow: Callable[[Watch], None]) -> None:
        """Attach to an attempt that a driver before us left running, else begin and submit a new one; ``begun`` is told
        before it is submitted, ``follow`` is called from a thread until that is done. Raises what the store and the
        backend raise."""
        self.attempts += 1
        found = self._living(backend)
        self.reattached = found is not None
        if found is not None:
            self._begin(found)
            begun(self)
            return
        spec, submission = prepare(self.store, self.planned, self.parents)
        self._begin(Handle(submission, storage.place(spec.attempt)))
        begun(self)
        with meanwhile(lambda: follow(self), FOLLOW_S):
            self.handle = backend.submit(spec, submission)

    def _begin(self, handle: Handle) -> None:
        now = time.monotonic()
        self.handle, self._trail = handle, Trail(handle.attempt / "logs" / "events.jsonl")
        self._began = self._heard = now
        self.started = now if self.attempts == 1 else self.started
        self._running_since, self._reported, self._state = 0.0, False, JobState.PENDING
        self._asked = self._looked = self._read = NEVER

    def _living(self, backend: Backend) -> Handle | None:
        for _, folder in reversed(self.store.attempts(self.planned.facts.folder, self.planned.generation)):
            submission = (read_json(folder / "attempt.json") or {}).get("submission")
            if submission and storage.exists(folder / "spec.json") and Outcome.read(folder) is None:
                handle = Handle(submission, folder)
                if backend.status(handle).live:
                    return handle
        return None

    def events(self, *, last: bool = False) -> list[dict[str, Any]]:
        """New events of the step itself; those of a remote store are asked for now and then only, but for the
        ``last``."""
        now = time.monotonic()
        if self._remote and not last and now - self._read < LOOK_REMOTE_S:
            return []
        self._read = now
        found = list(parse_events(self._trail.lines())) if self._trail is not None else []
        if found:
            self._heard, self._reported = time.monotonic(), True
        return found

    def look(self, backend: Backend) -> Outcome | None:
        """How the current attempt ended, None while it goes on. Raises InfraError when the lease was lost and when a
        time limit passed, DataError when the attempt as a whole took too long; the job is cancelled then."""
        assert self.handle is not None
        if self.lease.lost.is_set():
            backend.cancel(self.handle)
            why, do = "another run took it over", "look at cookhouse status, then run again"
            raise InfraError(f"step '{self.name}' lost its lease", where=str(self.lease.path), why=why, do=do)
        now = time.monotonic()
        if self._remote and now - self._looked < LOOK_REMOTE_S:
            return None
        self._looked = now
        outcome = Outcome.read(self.handle.attempt)
        if outcome is None and now - self._asked >= ASK_BACKEND_S:
            self._asked = now
            self._state = backend.status(self.handle)
            if not self._state.live:
                outcome = Outcome.read(self.handle.attempt)  # it may have ended between the two looks
                return outcome or self._died(backend)
            if self._state is JobState.RUNNING:
                self._running_since = self._running_since or now
            self._reported = self._reported or storage.exists(self.handle.attempt / "worker.json")
        if outcome is None:
            self._enforce(backend, now)
        return outcome

    def _died(self, backend: Backend) -> Outcome:
        assert self.handle is not None
        words = [line for line in backend.logs(self.handle).splitlines() if line.strip()]
        lost = self._state is JobState.LOST
        why = "its Ray is gone" if lost else "it was killed (kill -9, out of memory, or a lost node)"
        why += f"; last line: {words[-1][:200]}" if words else ""
        what = f"the process of step '{self.name}' ended without a word"
        return Outcome("failed", "infra", what, self.handle.submission, why, log=str(self.handle.log))

    def _enforce(self, backend: Backend, now: float) -> None:
        pending, running = self._state is JobState.PENDING, self._running_since or now
        waited = now - max(self._heard, running)
        passed: list[tuple[str, float, bool, str]] = [
            ("wall_s", now - self._began, True, "took longer than it may"),
            ("queue_s", now - self._began, pending and not self._reported, "waited too long for a place to run"),
            ("start_s", now - running, not pending and not self._reported, "started but its process never reported"),
            ("progress_s", waited, self._reported, "made no progress for too long"),
        ]
        for name, seconds, applies, what in passed:
            limit = getattr(self.timeouts, name)
            if limit is None or not applies or seconds <= limit:
                continue
            assert self.handle is not None
            backend.cancel(self.handle)
            raise (DataError if name == "wall_s" else InfraError)(
                f"step '{self.name}' {what}",
                where=f"timeouts.{name} = {limit:g}, {self.handle.submission}",
                why=f"{seconds:.0f} s",
                do="see cookhouse logs; finished units are kept, a larger limit goes on from them",
            )

    def ended_badly(self, outcome: Outcome) -> CookhouseError:
        kind, what = InfraError if outcome.failure == "infra" else CookhouseError, outcome.what
        raised = kind(what or f"step '{self.name}' was stopped", where=outcome.where, why=outcome.why, do=outcome.do)
        raised.log = outcome.log  # type: ignore[attr-defined]
        return raised

    def kill(self) -> None:
        """SIGKILL to the attempt's process when it runs on this machine and does not end by itself."""
        assert self.handle is not None
        worker = read_json(self.handle.attempt / "worker.json")
        if worker and worker["pid"] != os.getpid() and process.is_alive(worker):
            with suppress(ProcessLookupError):
                os.kill(int(worker["pid"]), signal.SIGKILL)


def prepare(store: Store, planned: PlannedStep, parents: Mapping[str, Record]) -> tuple[Spec, str]:
    """A new attempt of a planned step, written down for the process that will run it, and the name it is submitted
    under. ``parents``: its committed inputs by step name; the stage sees them under the names the key was made with."""
    step, probed = planned.keyed.step, planned.keyed.probed
    submission = f"{step.shown}-{planned.key[:SHORT]}-a{{number}}-{{token}}"
    attempt = store.begin(planned.facts.folder, generation=planned.generation, submission=submission)
    spec = Spec(
        stage=step.definition.dotted,
        step=step.shown,
        key=planned.key,
        document=planned.keyed.document,
        config=probed.config.model_dump(mode="json"),
        inputs={
            port: [
                {"step": shown, "key": key, "folder": str(parents[name].folder)}
                for name, (shown, key) in zip(names, planned.keyed.document["inputs"].get(port, ()), strict=True)
            ]
            for port, names in step.inputs.items()
        },
        sources={name: list(map(astuple, files)) for name, files in probed.files.items()},
        attempt=str(attempt.place),
        elders=[str(elder) for elder in attempt.elders],
        generation=planned.generation,
        limit=planned.keyed.document.get("limit"),
        uses_ray=step.definition.uses_ray,
    )
    spec.write()
    about: Any = read_json(attempt.place / "attempt.json")
    return spec, str(about["submission"])
