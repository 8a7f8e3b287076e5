"""Follow one pipeline run: events in, calls to the sink out. Every step may be repeated with one effect.

The events are always read from the first on; what was sent before is known from ``tracking.json`` and from the store.
So a mirror that was killed, an unreachable server and ``sync`` weeks later are one case. Metric files are read from the
byte where the last delivery ended, because they are long.

An MLflow run of a step belongs to its (key, generation): another pipeline run that hits the key links to it and
copies its final metrics to its own parent run; it never makes a second one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.storage import Place
from pipelines.tracking import describe, state
from pipelines.tracking.metrics import MetricFile
from pipelines.tracking.sink import Input, Point, Sink, is_permanent

STATUS = {"ok": "FINISHED", "hit": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
SHOWN_FILES = ("report.html", "report.json")
MAX_FILE = 20_000_000
"""Bytes above which a file is not copied into the store; it lies in the artifact anyway."""
IDLE_S = 180.0
"""A step whose driver is gone and whose logs were silent for so many seconds is taken for dead."""
SETTLE_REMOTE_S = 10.0
"""How often the steps of a driver that is gone are looked at in a remote store."""


@dataclass
class StepView:
    """A step of this pipeline run as far as the events told. ``run_id`` is its MLflow run."""

    step: str
    key: str = ""
    stage: str = ""
    decision: str = ""
    status: str = ""
    attempt: Place | None = None
    run_id: str = ""
    experiment_id: str = ""
    seconds: float | None = None
    main: str = ""
    generation: int = 1


@dataclass
class Follower:
    """``pump`` handles what is new; its exceptions are the store's. ``done`` when the run's end was delivered."""

    root: Path
    run_id: str
    uri: str
    open_sink: Callable[[str], Sink] = Sink
    git: Mapping[str, str] = field(default_factory=dict)
    warn: Callable[[str], None] = print
    done: bool = False

    def __post_init__(self) -> None:
        self.folder = self.root / "runs" / self.run_id
        self.steps: dict[str, StepView] = {}
        self.recipe = ""
        self.overrides: Sequence[str] = ()
        self.experiment = self.parent = self.top = ""
        self._sink: Sink | None = None
        self._offset = 0
        self._metrics: dict[Place, MetricFile] = {}
        self._settled = -SETTLE_REMOTE_S
        self._queue: list[dict[str, Any]] = []

    @property
    def sink(self) -> Sink:
        if self._sink is None:
            self._sink = self.open_sink(self.uri)
        return self._sink

    def pump(self) -> int:
        """Deliver new events and metrics; returns how many events were handled. On an exception the event it met is
        kept and comes first next time; an event that can never succeed is left out with a warning."""
        _ = self.sink  # connect (and make the tables) while the run is still starting
        events, self._offset = state.read_lines(self.folder / "events.jsonl", self._offset)
        self._queue += events
        handled = 0
        while self._queue:
            try:
                self._handle(self._queue[0])
            except Exception as error:
                if not is_permanent(error):
                    raise
                self.warn(f"left out {self._queue[0].get('kind')}: {type(error).__name__}: {error}")
            self._queue.pop(0)
            handled += 1
        for view in self.steps.values():
            if view.status == "running" and view.run_id and view.attempt:
                file = self._metrics_of(view.attempt)
                if file.due and file.read():
                    self._deliver(view, file)
        return handled

    def settle(self) -> bool:
        """For a run whose driver died: bring steps in flight to their true end, as far as their files know it. False
        while one may still be at work: a Ray job outlives its driver. Silence of ``IDLE_S`` seconds counts as
        killed."""
        flying = [view for view in self.steps.values() if view.status == "running" and view.attempt]
        if any(isinstance(view.attempt, storage.Remote) for view in flying if view.attempt):
            if time.monotonic() - self._settled < SETTLE_REMOTE_S:
                return False
            self._settled = time.monotonic()
        for view in flying:
            assert view.attempt is not None
            artifact, when = view.attempt.parent.parent, time.time()
            name, record = newest_record(artifact)
            if record.get("generation") == view.generation:
                self._step_finished(view, {"status": "ok", "artifact_json": str(artifact / name)}, when)
                continue
            outcome = state.read_json(view.attempt / "outcome.json")
            last = storage.last_write(view.attempt / "logs")
            if isinstance(view.attempt, Path):
                last = max(last, view.attempt.stat().st_mtime)
            if outcome.get("status", "ok") != "ok":
                self._step_finished(view, {"status": outcome["status"]}, when)
            elif when - last > IDLE_S:
                self._step_finished(view, {"status": "killed"}, last)
        return not any(view.status == "running" for view in self.steps.values())

    def end(self, status: str, ended: float | None = None) -> None:
        """The parent's terminal state; called for ``run_finished``, or when the driver is gone without one."""
        if self.parent:
            self._note()
            self.sink.state(self.parent, status, ended or time.time())
            if self.top != self.parent:
                self._end_sweep(ended or time.time())
        self._remember(status)
        self.done = True

    def _handle(self, event: Mapping[str, Any]) -> None:
        kind, when = event.get("kind"), float(event.get("t") or time.time())
        if kind == "run_started":
            self._run_started(event, when)
        elif kind == "step_planned":
            view = self.steps.setdefault(event["step"], StepView(event["step"]))
            view.key, view.stage, view.decision = event["key"], event.get("stage", ""), event["decision"]
            step = view.step
            self.sink.tags(self.parent, {f"cookhouse.step.{step}": f"{view.decision} {view.key[: describe.SHORT]}"})
        elif kind == "step_started":
            view = self.steps.setdefault(event["step"], StepView(event["step"]))
            view.key, view.attempt, view.status = event["key"], storage.place(event["attempt_dir"]), "running"
            self._step_started(view, when)
        elif kind == "step_finished":
            view = self.steps.setdefault(event["step"], StepView(event["step"]))
            view.key = event["key"]
            self._step_finished(view, event, when)
        elif kind == "run_finished":
            self.end(STATUS.get(event["status"], "FAILED"), when)

    def _run_started(self, event: Mapping[str, Any], when: float) -> None:
        self.recipe, self.overrides = str(event["recipe"]), [str(item) for item in event.get("overrides") or ()]
        self.experiment = self.sink.experiment(f"cookhouse/{self.recipe}")
        sweep = event.get("sweep") or {}
        known = state.load(self.folder, self.uri).get("run_id", "")
        tag = {"cookhouse.run": self.run_id, "cookhouse.level": "pipeline"}
        if sweep:  # a combination keeps its run when the sweep goes on in a second command
            tag = {"cookhouse.sweep": sweep["id"], "cookhouse.combination": str(sweep["index"])}
            self.top = self._sweep(sweep["id"], when)
        if not known or not self.sink.alive(known):
            shown = describe.run_name(self.recipe, self.run_id, sweep.get("varied", self.overrides))
            about = {"cookhouse.recipe": self.recipe, "cookhouse.overrides": " ".join(self.overrides), **self.git}
            level = {"cookhouse.level": "combination", "mlflow.parentRunId": self.top} if sweep else {}
            known = self.sink.find(self.experiment, tag) or self.sink.create(
                self.experiment, shown, {**tag, "cookhouse.run": self.run_id, **level, **about}, when
            )
            if sweep:
                self.sink.state(known, "RUNNING")
        self.parent = known
        self.top = self.top or known
        self._remember("RUNNING")
        self.sink.params(
            self.parent, {"recipe": self.recipe, "overrides": " ".join(self.overrides)[: describe.MAX_PARAM]}
        )

    def _sweep(self, name: str, when: float) -> str:
        """The MLflow run that a sweep's combinations and steps are children of."""
        tag = {"cookhouse.sweep": name, "cookhouse.level": "sweep"}
        found = self.sink.find(self.experiment, tag)
        if found is None:
            about = {"cookhouse.recipe": self.recipe, **self.git}
            return self.sink.create(self.experiment, f"sweep {name}", {**tag, **about}, when)
        self.sink.state(found, "RUNNING")
        return found

    def _end_sweep(self, ended: float) -> None:
        """The sweep's own state, from its combinations as the store knows them; it goes on while one of them does."""
        found = self.sink.statuses(self.experiment, {"mlflow.parentRunId": self.top, "cookhouse.level": "combination"})
        worst = next((status for status in ("RUNNING", "KILLED", "FAILED") if status in found), "FINISHED")
        self.sink.state(self.top, worst, ended)

    def _step_started(self, view: StepView, when: float) -> None:
        assert view.attempt is not None
        artifact = view.attempt.parent.parent
        view.generation = int(state.read_json(view.attempt / "attempt.json").get("generation", 1))
        spec = state.read_json(view.attempt / "spec.json")
        view.stage = view.stage or artifact.parent.name
        remembered = self._ensure_run(view, artifact, when)
        self.sink.tags(view.run_id, {"cookhouse.attempt": view.attempt.name, "cookhouse.folder": str(artifact)})
        self.sink.params(view.run_id, describe.params_of(spec.get("document", {})))
        self.sink.params(self.parent, describe.params_of(spec.get("document", {}), f"{view.step}."))
        if remembered.get("status") != "RUNNING":
            self.sink.state(view.run_id, "RUNNING")
            self._keep(artifact, view, {**remembered, "status": "RUNNING"})

    def _step_finished(self, view: StepView, event: Mapping[str, Any], when: float) -> None:
        view.status = str(event["status"])
        if view.status in ("ok", "hit") and event.get("artifact_json"):
            self._committed(view, storage.place(event["artifact_json"]))
        elif view.attempt is not None:
            artifact = view.attempt.parent.parent
            remembered = self._ensure_run(view, artifact, when)
            cursors = self._drain(view)
            outcome = state.read_json(view.attempt / "outcome.json")
            if what := outcome.get("what") or event.get("what"):
                self.sink.tags(view.run_id, {"cookhouse.failure": str(what)})
            log = view.attempt / "logs" / "traceback.txt"
            if storage.exists(log):
                self.sink.file(view.run_id, storage.local_file(log))
            name, record = newest_record(artifact)
            if record.get("generation", 0) >= view.generation:  # a later run has made it: the key's run stays finished
                self._committed(view, artifact / name)
            else:
                status = STATUS.get(view.status, "FAILED")
                self.sink.state(view.run_id, status, when)
                self._keep(artifact, view, {**remembered, "cursors": cursors, "status": status})
        seconds = event.get("seconds")
        view.seconds = view.seconds if view.seconds is not None else seconds
        self.sink.tags(
            self.parent,
            {
                f"cookhouse.step.{view.step}": f"{view.decision or view.status.upper()} {view.key[: describe.SHORT]}",
                f"cookhouse.step.{view.step}.run": view.run_id or "-",
                f"cookhouse.step.{view.step}.status": view.status,
            },
        )
        self._note()

    def _committed(self, view: StepView, artifact_json: Place) -> None:
        """A result exists: make its run whole once, then copy its final metrics to this pipeline run."""
        record, artifact = state.read_json(artifact_json), artifact_json.parent
        view.generation, view.stage = int(record.get("generation", 1)), record["stage"]
        view.seconds, view.main = record.get("seconds"), describe.main_metric(record.get("stats", {}))
        ended, seconds = float(record["created"]), float(record.get("seconds") or 0.0)
        remembered = self._ensure_run(view, artifact, ended - seconds)
        if remembered.get("content") != record["content_digest"]:
            cursors = self._drain_all(view, artifact)
            series = self._metrics_of(artifact / "attempts" / record["attempt"]).last
            stats = describe.stat_metrics(record)
            self._describe_result(view, artifact, record)
            self.sink.metrics(view.run_id, [Point(n, value, ended) for n, value in stats.items() if n not in series])
            self.sink.state(view.run_id, "FINISHED", ended)
            whole = {"status": "FINISHED", "content": record["content_digest"], "final": {**series, **stats}}
            remembered = {**remembered, **whole, "cursors": cursors}
            self._keep(artifact, view, remembered)
        elif remembered.get("status") != "FINISHED":
            self.sink.state(view.run_id, "FINISHED", ended)
            self._keep(artifact, view, {**remembered, "status": "FINISHED"})
        self.sink.params(self.parent, describe.params_of(record["document"], f"{view.step}."))
        copied = describe.parent_metrics(view.step, remembered.get("final", {}))
        self.sink.metrics(self.parent, [Point(name, value, ended) for name, value in copied.items()])

    def _describe_result(self, view: StepView, artifact: Place, record: Mapping[str, Any]) -> None:
        manifest = state.read_json(artifact / record["manifest"])
        lying = manifest.get("attendant", {}).get("places", {})
        self.sink.params(view.run_id, describe.params_of(record["document"]))
        self.sink.tags(
            view.run_id,
            {
                "cookhouse.content_digest": record["content_digest"],
                "cookhouse.attempt": record["attempt"],
                "cookhouse.folder": str(artifact),
                "mlflow.note.content": describe.step_note(record),
                **{
                    f"cookhouse.input.{item['step']}": item["key"]
                    for items in record["inputs"].values()
                    for item in items
                },
            },
        )
        self.sink.inputs(view.run_id, self._data_inputs(record))
        files = [artifact / record["manifest"], *(artifact / lying[name] for name in SHOWN_FILES if name in lying)]
        for path in files:
            if path.is_file() and path.stat().st_size <= MAX_FILE:
                self.sink.file(view.run_id, storage.local_file(path))

    def _data_inputs(self, record: Mapping[str, Any]) -> list[Input]:
        """The inputs that hold shards; models and other inputs are tags only."""
        found = []
        for item in (item for items in record["inputs"].values() for item in items):
            _, source = newest_record(storage.place(item["folder"]))
            manifest = state.read_json(storage.place(item["folder"]) / source.get("manifest", ""))
            if not any(name.startswith("shards/") for name in manifest.get("attendant", {}).get("places", {})):
                continue
            profile = {"samples": source["stats"].get("samples"), "bytes": source["bytes"], "files": source["files"]}
            found.append(Input(item["step"], item["content_digest"], item["folder"], record["stage"], profile))
        return found

    def _ensure_run(self, view: StepView, artifact: Place, started: float) -> dict[str, Any]:
        """The record of the step's MLflow run, made when this key and generation has none in this store."""
        name = f"generation-{view.generation}"
        remembered = state.load(artifact, self.uri, name)
        if not remembered or not (view.run_id == remembered["run_id"] or self.sink.alive(remembered["run_id"])):
            tags = {"cookhouse.key": view.key, "cookhouse.generation": str(view.generation), "cookhouse.level": "step"}
            run = self.sink.find(self.experiment, tags) or self.sink.create(
                self.experiment,
                describe.step_name(view.step, view.key, self.overrides),
                {
                    **tags,
                    "cookhouse.step": view.step,
                    "cookhouse.stage": view.stage,
                    "cookhouse.recipe": self.recipe,
                    "cookhouse.run": self.run_id,
                    "mlflow.parentRunId": self.top,
                    **self.git,
                },
                started,
            )
            remembered = {"run_id": run, "experiment_id": self.experiment, "status": "RUNNING", "cursors": {}}
            self._keep(artifact, view, remembered)
        view.run_id, view.experiment_id = remembered["run_id"], remembered["experiment_id"]
        return remembered

    def _metrics_of(self, attempt: Place) -> MetricFile:
        return self._metrics.setdefault(attempt, MetricFile(attempt))

    def _drain(self, view: StepView) -> dict[str, int]:
        """Send the metrics an attempt wrote since the last delivery; returns the cursors of all attempts."""
        assert view.attempt is not None
        file = self._metrics_of(view.attempt)
        file.read()
        return self._deliver(view, file)

    def _deliver(self, view: StepView, file: MetricFile) -> dict[str, int]:
        assert view.attempt is not None
        artifact = view.attempt.parent.parent
        remembered = state.load(artifact, self.uri, f"generation-{view.generation}")
        cursors = dict(remembered.get("cursors", {}))
        at = cursors.get(view.attempt.name, 0)
        points, end = file.after(at)
        if end != at:
            self.sink.metrics(view.run_id, points)
            cursors[view.attempt.name] = end
            self._keep(artifact, view, {**remembered, "cursors": cursors})
        file.forget(end)
        return cursors

    def _drain_all(self, view: StepView, artifact: Place) -> dict[str, int]:
        """The metrics of every attempt of this generation: a result may stand on units of earlier ones."""
        cursors: dict[str, int] = {}
        names = [name for name in storage.names(artifact / "attempts") if "-" in name]
        for name in sorted(names, key=lambda name: int(name.split("-")[0])):
            folder = artifact / "attempts" / name
            if int(state.read_json(folder / "attempt.json").get("generation", 1)) == view.generation:
                view.attempt = folder
                cursors = self._drain(view)
        return cursors

    def _keep(self, artifact: Place, view: StepView, remembered: dict[str, Any]) -> None:
        state.save(artifact, self.uri, remembered, f"generation-{view.generation}")

    def _remember(self, status: str) -> None:
        known = state.load(self.folder, self.uri)
        state.save(
            self.folder, self.uri, {**known, "run_id": self.parent, "experiment_id": self.experiment, "status": status}
        )

    def _note(self) -> None:
        rows = {name: vars(view) for name, view in self.steps.items()}
        self.sink.tags(self.parent, {"mlflow.note.content": describe.parent_note(self.recipe, self.overrides, rows)})


def newest_record(artifact: Place) -> tuple[str, dict[str, Any]]:
    """File name and content of the committed record of a folder, its highest generation; empty when there is none."""
    names = [name for name in storage.names(artifact) if fnmatchcase(name, "artifact*.json")]
    forced = [name for name in names if name != "artifact.json"]
    name = (forced or names or ["artifact.json"])[-1]
    return name, state.read_json(artifact / name)
