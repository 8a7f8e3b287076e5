"""Brings a store as near to the files of some pipeline runs as it lets itself be brought: ``Mirror.look``, again and again.

Following a run, catching up after an outage and reconciling weeks later are the same call. What a store refuses stays: it is
counted, shown in the tag ``cookhouse.incomplete``, tried again at every look, and keeps the run from its final state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core.storage import Place, about, exists, local_file
from pipelines.tracking import state
from pipelines.tracking.desired import Ids, RunFiles, Shown, Summary, Wanted, desired, difference
from pipelines.tracking.files import RunReader
from pipelines.tracking.series import Series
from pipelines.tracking.sink import Sink, refusal

MAX_FILE = 20_000_000
"""Bytes above which a file is not copied into the store; it lies in the artifact anyway."""
INCOMPLETE = "cookhouse.incomplete"
NEW: dict[str, Any] = {"status": "RUNNING", "cursors": {}, "sent": {}, "content": ""}
"""What is remembered of an MLflow run nothing was delivered to."""


@dataclass
class Target:
    """An MLflow run as this process knows it. ``memory`` is its record in ``tracking.json``: ``cursors`` say up to which
    byte the metric lines of an attempt were delivered, ``sent`` under which cuts."""

    memory: dict[str, Any]
    shown: Shown
    series: Series = field(default_factory=Series)
    missing: int = 0

    @property
    def run(self) -> str:
        return str(self.memory["run_id"])


class Mirror:
    """Some pipeline runs in one store. ``missing`` counts what the store refused at the last look, ``why`` is its reason;
    ``targets`` are the MLflow runs met so far, by the folder and slot that remember them."""

    def __init__(
        self,
        home: Path,
        run_ids: Sequence[str],
        uri: str,
        open_store: Callable[[str], Sink] = Sink,
        warn: Callable[[str], None] = print,
    ) -> None:
        self.uri, self.warn, self._open = uri, warn, open_store
        self.readers = [RunReader(home, run_id, warn) for run_id in run_ids]
        self.missing, self.why = 0, ""
        self.targets: dict[tuple[Place, str], Target] = {}

    @cached_property
    def store(self) -> Sink:
        return self._open(self.uri)

    @property
    def done(self) -> bool:
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
            missing = self._show(run)
            self.missing += missing
            if run.end is not None and not missing:
                self.readers.remove(reader)

    def _show(self, run: RunFiles) -> int:
        """Returns how many values the store refused."""
        ids: dict[str, tuple[str, str]] = {}
        for name, want in desired(run, ids).items():
            target = self._meet(want, ids)
            if name.startswith("step "):
                step = run.steps[name[5:]]
                summary = self._series(target, want, ids, now=run.end is not None)
                run = run.with_step(name[5:], replace(step, summary=summary))
            ids[name] = target.memory["experiment_id"], target.run
        missing = 0
        for name, want in reversed(desired(run, ids).items()):  # a run is whole when its steps are
            missing += self._apply(name, want, 0 if name.startswith("step ") else missing)
        return missing

    def _meet(self, want: Wanted, ids: Ids) -> Target:
        """The run as remembered, as found by its tags, or made."""
        if (target := self.targets.get((want.folder, want.slot))) is None:
            memory = state.load(want.folder, self.uri, want.slot)
            shown = self.store.shown(memory["run_id"]) if memory else None
            if shown is not None:
                target = Target({**NEW, **memory}, shown)
            else:
                experiment = self.store.experiment(f"cookhouse/{want.about['cookhouse.recipe']}")
                target = Target({"experiment_id": experiment}, Shown())
                found = self.store.find(experiment, want.identity)
                self._take(target, want, found or self._create(target, want, ids))
            self.targets[want.folder, want.slot] = target
        target.missing = 0
        return target

    def _create(self, target: Target, want: Wanted, ids: Ids) -> str:
        parent = {"mlflow.parentRunId": ids[want.parent][1]} if want.parent else {}
        before = {name: value for name, value in target.shown.tags.items() if name != INCOMPLETE}
        tags = {**want.identity, **want.about, **parent, **before}
        return self.store.create(target.memory["experiment_id"], want.name, tags, want.started)

    def _take(self, target: Target, want: Wanted, run: str) -> None:
        """Begin at the beginning with a run of the store."""
        target.shown, target.series = self.store.shown(run) or Shown(), Series()
        self._remember(target, want, run_id=run, **NEW)

    def _series(self, target: Target, want: Wanted, ids: Ids, *, now: bool) -> Summary:
        """Metric lines go from file to store; nothing of them stays but how far they were read and a summary. Those of a
        result that arrived whole are not read again."""
        if want.content and target.memory["content"] == want.content:
            return Summary(target.shown.metrics)
        series = target.series
        series.open(want.attempts)
        for lines, points in series.pieces(now=now):
            name, memory = lines.attempt.name, target.memory
            if points and lines.end > (at := memory["cursors"].get(name, 0)):
                if self._refused(target, len(points), self.store.log, target.run, metrics=points):
                    return series.summary
                sent = memory["sent"] if at else {**memory["sent"], name: series.cuts[name]}
                self._remember(target, want, cursors={**memory["cursors"], name: lines.end}, sent=sent)
            lines.points.clear()
        target.shown = replace(target.shown, metrics={**target.shown.metrics, **series.summary.last})
        if series.stale(target.memory["sent"]) and not self._refused(target, 1, self.store.remove, target.run):
            # a store takes no value back, so the run is made anew from what is true now
            self._take(target, want, self._create(target, want, ids))
            return self._series(target, want, ids, now=now)
        return series.summary

    def _apply(self, name: str, want: Wanted, below: int) -> int:
        """Send what differs; the final state only when nothing is missing, ``below`` neither. Returns how much is."""
        target = self.targets[want.folder, want.slot]
        run, shown = target.run, target.shown
        if want.content and target.memory["content"] == want.content:
            return 0
        if name == "sweep" and want.status != "RUNNING":  # it goes on while one of its combinations does
            tags = {"mlflow.parentRunId": run, "cookhouse.level": "combination"}
            found = self.store.statuses(target.memory["experiment_id"], tags)
            want = replace(want, status=next((s for s in ("RUNNING", "KILLED", "FAILED") if s in found), "FINISHED"))
        gap = difference(want, shown)
        rows, log = len(gap.params) + len(gap.tags) + len(gap.metrics), (gap.params, gap.tags, gap.metrics)
        if rows and not self._refused(target, rows, self.store.log, run, *log):
            metrics = {**shown.metrics, **{point.name: point.value for point in gap.metrics}}
            params, tags = {**shown.params, **gap.params}, {**shown.tags, **gap.tags}
            shown = replace(shown, params=params, tags=tags, metrics=metrics)
        if gap.inputs and not self._refused(target, len(gap.inputs), self.store.inputs, run, gap.inputs):
            shown = replace(shown, inputs=shown.inputs | {item.name for item in gap.inputs})
        for path in gap.files:
            small = exists(path) and about(path).size <= MAX_FILE
            if not small or not self._refused(target, 1, self.store.file, run, local_file(path)):
                shown = replace(shown, files=shown.files | {path})
        ends = gap.status and not target.missing + below
        if ends and not self._refused(target, 1, self.store.state, run, want.status, want.ended):
            shown = replace(shown, status=want.status)
        target.shown, missing = shown, target.missing
        self._tell(target, missing + below)
        arrived = want.status and not missing + below
        content = want.content if arrived else ""
        self._remember(target, want, status=want.status if arrived else "RUNNING", content=content, missing=missing)
        return missing

    def _tell(self, target: Target, missing: int) -> None:
        told = f"{missing} values did not arrive: {self.why}"[:500] if missing else ""
        news = told != target.shown.tags.get(INCOMPLETE, "")
        if news and not self._refused(target, 0, self.store.tag, target.run, INCOMPLETE, told):
            target.shown = replace(target.shown, tags={**target.shown.tags, INCOMPLETE: told})

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

    def _remember(self, target: Target, want: Wanted, **more: Any) -> None:
        if (memory := {**target.memory, **more}) != target.memory:
            state.save(want.folder, self.uri, memory, want.slot)
            target.memory = memory
