"""Brings a store as near to the files of some pipeline runs as it lets itself be brought: ``Mirror.look``, again and again.

Following a run, catching up after an outage and reconciling weeks later are the same call. What a store refuses stays: it is
counted, shown in the tag ``cookhouse.incomplete``, tried again at every look, and keeps the run from its final state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core.storage import Place, about, exists, local_file
from pipelines.tracking import state
from pipelines.tracking.desired import Ids, RunFiles, Shown, Wanted, desired, difference
from pipelines.tracking.files import RunReader
from pipelines.tracking.series import Series
from pipelines.tracking.sink import Sink, refusal

MAX_FILE = 20_000_000
"""Bytes above which a file is not copied into the store; it lies in the artifact anyway."""
INCOMPLETE = "cookhouse.incomplete"


@dataclass
class Target:
    """An MLflow run as this process knows it. ``cursors``: attempt -> byte up to which its metric lines were delivered;
    ``sent``: attempt -> the cuts under which they were."""

    run: str
    experiment: str
    shown: Shown
    memory: dict[str, Any]
    cursors: dict[str, int] = field(default_factory=dict)
    sent: dict[str, dict[str, int]] = field(default_factory=dict)
    series: Series = field(default_factory=Series)
    missing: int = 0


class Mirror:
    """Some pipeline runs in one store. ``missing`` counts what the store refused at the last look, ``why`` is its reason."""

    def __init__(
        self,
        home: Path,
        run_ids: Sequence[str],
        uri: str,
        open_store: Callable[[str], Sink] = Sink,
        warn: Callable[[str], None] = print,
    ) -> None:
        self.uri, self.warn, self._open = uri, warn, open_store
        self.readers = [RunReader(home, run_id, uri, warn) for run_id in run_ids]
        self.missing, self.why = 0, ""
        self._targets: dict[tuple[Place, str], Target] = {}
        self._alive: dict[str, bool] = {}

    @cached_property
    def store(self) -> Sink:
        return self._open(self.uri)

    @property
    def done(self) -> bool:
        """Whether everything of every run arrived, its end too."""
        return not self.readers

    def look(self, *, gone: bool = False, leave: bool = False) -> None:
        """Deliver what is new. ``gone``: the driver writes no more; ``leave``: nor is there time to wait for jobs that
        outlive it. Raises what a store raises that is away; the next look begins where this one ended."""
        _ = self.store  # connect (and make the tables) while the run is still starting
        self.missing = 0
        for reader in list(self.readers):
            run = reader.look()
            if gone:
                run = reader.settle(leave=leave)
            missing = self._show(self._without_lost(reader, run))
            self.missing += missing
            if run.end is not None and not missing:
                self.readers.remove(reader)

    def target(self, folder: Place, slot: str = "run") -> Target:
        """The MLflow run that a slot of ``tracking.json`` remembers; KeyError when this process has not met it."""
        return self._targets[folder, slot]

    def _without_lost(self, reader: RunReader, run: RunFiles) -> RunFiles:
        """A result that arrived before is made again where the store has lost it."""
        for step in run.steps.values():
            if known := step.known.get("run_id"):
                if known not in self._alive:
                    self._alive[known] = self.store.shown(known) is not None
                if not self._alive[known]:
                    run = reader.run = run.with_step(replace(step, known={}))
        return run

    def _show(self, run: RunFiles) -> int:
        """Returns how many values the store refused."""
        ids = self._ids(run, {})
        for name, want in desired(run, ids).items():
            target = self._meet(want, ids)
            target.missing = 0
            ids[name] = target.experiment, target.run
        for name, want in desired(run, ids).items():
            if want.attempts:
                target = self._targets[want.folder, want.slot]
                self._series(target, want, ids, now=run.end is not None)
                step = run.steps[name.removeprefix("step ")]
                run = run.with_step(replace(step, summary=target.series.summary))
        wanted = desired(run, self._ids(run, desired(run, ids)))
        missing = sum(self._apply(want, 0) for name, want in wanted.items() if name.startswith("step "))
        if "run" in wanted:
            missing = self._apply(wanted["run"], missing)
        if "sweep" in wanted:
            missing += self._apply(self._with_state(wanted["sweep"], run), 0)
        return missing

    def _ids(self, run: RunFiles, wanted: Mapping[str, Wanted]) -> dict[str, tuple[str, str]]:
        ids = {
            f"step {name}": (str(step.known["experiment_id"]), str(step.known["run_id"]))
            for name, step in run.steps.items()
            if step.known
        }
        for name, want in wanted.items():
            target = self._targets[want.folder, want.slot]
            ids[name] = target.experiment, target.run
        return ids

    def _with_state(self, want: Wanted, run: RunFiles) -> Wanted:
        """A sweep's state comes from its combinations as the store knows them; it goes on while one of them does."""
        target = self._targets[want.folder, want.slot]
        if run.end is None:
            return replace(want, status="RUNNING")
        tags = {"mlflow.parentRunId": target.run, "cookhouse.level": "combination"}
        found = self.store.statuses(target.experiment, tags)
        worst = next((status for status in ("RUNNING", "KILLED", "FAILED") if status in found), "FINISHED")
        return replace(want, status=worst, ended=run.end[1])

    def _meet(self, want: Wanted, ids: Ids) -> Target:
        """The run as remembered, as found by its tags, or made."""
        if (want.folder, want.slot) in self._targets:
            return self._targets[want.folder, want.slot]
        memory = state.load(want.folder, self.uri, want.slot)
        shown = self.store.shown(memory["run_id"]) if memory else None
        if shown is None:
            experiment = self.store.experiment(f"cookhouse/{want.about['cookhouse.recipe']}")
            found = self.store.find(experiment, want.identity) or self._create(experiment, want, ids)
            target = Target(found, experiment, self.store.shown(found) or Shown(), {})
        else:
            target = Target(memory["run_id"], memory["experiment_id"], shown, memory)
            target.cursors, target.sent = dict(memory.get("cursors", {})), dict(memory.get("sent", {}))
        self._targets[want.folder, want.slot] = target
        self._remember(target, want, {})
        return target

    def _create(self, experiment: str, want: Wanted, ids: Ids, before: Mapping[str, str] | None = None) -> str:
        parent = {"mlflow.parentRunId": ids[want.parent][1]} if want.parent else {}
        tags = {**want.identity, **want.about, **parent, **(before or {})}
        return self.store.create(experiment, want.name, tags, want.started)

    def _series(self, target: Target, want: Wanted, ids: Ids, *, now: bool) -> None:
        """Metric lines go from file to store, and nothing of them stays here but how far they were read."""
        target.series.open(want.attempts)
        for lines, points in target.series.pieces(now=now):
            name = lines.attempt.name
            at = target.cursors.get(name, 0)
            if lines.end > at:
                if points and self._refused(target, len(points), self.store.log, target.run, metrics=points):
                    return
                target.cursors[name] = lines.end
                if not at:
                    target.sent[name] = target.series.cuts[name]
                self._remember(target, want, {})
            lines.points.clear()
        if target.series.stale(target.sent) and not self._refused(target, 1, self.store.remove, target.run):
            # a store takes no value back, so the run is made anew from what is true now
            before = {name: value for name, value in target.shown.tags.items() if name != INCOMPLETE}
            target.run = self._create(target.experiment, want, ids, before)
            target.shown = self.store.shown(target.run) or Shown()
            target.cursors, target.sent, target.series = {}, {}, Series()
            self._remember(target, want, {})
            self._series(target, want, ids, now=now)

    def _apply(self, want: Wanted, missing: int) -> int:
        """Send what differs; the final state only when nothing is ``missing``, of its steps either. Returns how much is."""
        target = self._targets[want.folder, want.slot]
        gap, shown = difference(want, target.shown), target.shown
        rows = len(gap.params) + len(gap.tags) + len(gap.metrics)
        log = (self.store.log, target.run, gap.params, gap.tags, gap.metrics)
        if rows and not self._refused(target, rows, *log):
            metrics = {**shown.metrics, **{point.name: point.value for point in gap.metrics}}
            shown = replace(
                shown, params={**shown.params, **gap.params}, tags={**shown.tags, **gap.tags}, metrics=metrics
            )
        if gap.inputs and not self._refused(target, len(gap.inputs), self.store.inputs, target.run, gap.inputs):
            shown = replace(shown, inputs=shown.inputs | {item.name for item in gap.inputs})
        for path in gap.files:
            small = exists(path) and about(path).size <= MAX_FILE
            if not small or not self._refused(target, 1, self.store.file, target.run, local_file(path)):
                shown = replace(shown, files=shown.files | {path})
        target.shown, missing = shown, missing + target.missing
        if want.status != shown.status and want.status and not missing:
            if self._refused(target, 1, self.store.state, target.run, want.status, want.ended):
                missing = 1
            else:
                target.shown = replace(shown, status=want.status)
        self._tell(target, missing)
        done = {"status": want.status, **want.memory} if want.status and not missing else {"status": "RUNNING"}
        self._remember(target, want, {**done, "missing": missing})
        return missing

    def _tell(self, target: Target, missing: int) -> None:
        told = f"{missing} values did not arrive: {self.why}"[:500]
        tags = {name: value for name, value in target.shown.tags.items() if name != INCOMPLETE}
        if missing and target.shown.tags.get(INCOMPLETE) != told:
            if not self._refused(target, 0, self.store.log, target.run, tags={INCOMPLETE: told}):
                target.shown = replace(target.shown, tags={**tags, INCOMPLETE: told})
        elif not missing and INCOMPLETE in target.shown.tags:
            self.store.untag(target.run, INCOMPLETE)
            target.shown = replace(target.shown, tags=tags)

    def _refused(self, target: Target, rows: int, call: Callable[..., None], *values: Any, **named: Any) -> bool:
        """Make a call to the store; True when it refuses it, which is counted and said once for each reason. Raises what
        a store raises that is away."""
        try:
            call(*values, **named)
        except Exception as error:
            reason = refusal(error)
            if not reason:
                raise
            target.missing += rows
            if reason != self.why:
                self.warn(f"refused, kept and tried again: {reason}")
            self.why = reason
            return True
        return False

    def _remember(self, target: Target, want: Wanted, more: Mapping[str, Any]) -> None:
        now = {"run_id": target.run, "experiment_id": target.experiment, "cursors": target.cursors, "sent": target.sent}
        memory = {"status": "RUNNING", **target.memory, **now, **more}
        if memory != target.memory:
            state.save(want.folder, self.uri, memory, want.slot)
            target.memory = {**memory, "cursors": dict(target.cursors), "sent": dict(target.sent)}
