"""What MLflow should show, from what the files of a run say. Pure: the same files give the same answer, whenever and in how
many looks they were read.

    fold(files, event) -> files                 the events of the pipeline run, one after the other
    desired(files, ids) -> {name: Wanted}       the runs it should be: ``run``, ``step sft`` ..., ``sweep``
    difference(wanted, shown) -> Difference     what is still to be sent; empty when everything arrived

A run of a step belongs to its (key, generation): a pipeline run that hits the key links to it and copies its final metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.core.storage import Place, place
from pipelines.tracking import describe

STATUS = {"ok": "FINISHED", "hit": "FINISHED", "failed": "FAILED", "killed": "KILLED", "running": "RUNNING"}
SHOWN_FILES = ("report.html", "report.json")
Ids = Mapping[str, tuple[str, str]]
"""Name of a wanted run -> (experiment id, run id), as far as the store has made them."""


@dataclass(frozen=True)
class Point:
    """One value of a metric: ``time`` in seconds since the epoch, ``step`` an optimizer or RL step."""

    name: str
    value: float
    time: float
    step: int = 0


@dataclass(frozen=True)
class Input:
    """A data artifact a step read; ``digest`` is the full sha256 of its content (MLflow keeps 32 digits and a tag)."""

    name: str
    digest: str
    folder: str
    context: str
    profile: Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """The metric lines of all attempts of a result in short: last values, and for each metric with values that are no finite
    number how many there were and the first step. ``code`` is the code that wrote them."""

    last: Mapping[str, float] = field(default_factory=dict)
    odd: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepFiles:
    """One step of a pipeline run. The first lines are what the events said; then what lies in the folder of its key:
    ``attempts`` of the generation (oldest first), ``record`` (``artifact.json``), ``places`` (of the manifest), ``inputs``,
    and ``known``: what was remembered of a result that arrived whole before."""

    step: str
    key: str = ""
    stage: str = ""
    decision: str = ""
    status: str = ""
    attempt: Place | None = None
    begun: float = 0.0
    ended: float = 0.0
    seconds: float | None = None
    what: str = ""
    folder: Place | None = None

    generation: int = 1
    document: Mapping[str, Any] = field(default_factory=dict)
    attempts: tuple[Place, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    known: Mapping[str, Any] = field(default_factory=dict)
    summary: Summary = Summary()

    @property
    def final(self) -> dict[str, float]:
        """The metrics of a committed result: the last of each series, and its stats."""
        return dict(self.known.get("final") or {**self.summary.last, **describe.stat_metrics(self.record)})


@dataclass(frozen=True)
class RunFiles:
    """One pipeline run: its event ``run_started``, its steps by name, and how it ended (status, seconds since the epoch)."""

    run_id: str
    folder: Place
    code: Mapping[str, Any] = field(default_factory=dict)
    started: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, StepFiles] = field(default_factory=dict)
    end: tuple[str, float] | None = None

    def with_step(self, step: StepFiles) -> RunFiles:
        return replace(self, steps={**self.steps, step.step: step})


@dataclass(frozen=True)
class Wanted:
    """What one MLflow run should be. It is found by the tags ``identity``, made with ``about`` too, as a child of
    ``parent``; ``attempts`` are the folders whose metric lines belong to it, oldest first; ``slot`` of ``tracking.json`` in
    ``folder`` remembers it. An empty ``status`` is not for this run to say."""

    name: str
    identity: Mapping[str, str]
    about: Mapping[str, str]
    started: float
    folder: Place
    slot: str = "run"
    parent: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[Point] = ()
    inputs: Sequence[Input] = ()
    files: Sequence[Place] = ()
    attempts: Sequence[Place] = ()
    status: str = ""
    ended: float = 0.0
    memory: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """What the store has of a run."""

    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    inputs: frozenset[str] = frozenset()
    files: frozenset[Place] = frozenset()
    status: str = ""


@dataclass(frozen=True)
class Difference:
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Sequence[Point]
    inputs: Sequence[Input]
    files: Sequence[Place]


def fold(run: RunFiles, event: Mapping[str, Any]) -> RunFiles:
    """The run after one more of its events. Raises LookupError, TypeError or ValueError for one that says too little."""
    kind, when = event.get("kind"), float(event.get("t") or 0.0)
    if kind == "run_started":
        return replace(run, started={**event, "t": when, "recipe": event["recipe"]})
    if kind == "run_finished":
        return replace(run, end=(STATUS.get(event["status"], "FAILED"), when))
    if kind not in ("step_planned", "step_started", "step_finished"):
        return run
    step = replace(run.steps.get(event["step"], StepFiles(event["step"])), key=event["key"])
    if kind == "step_planned":
        return run.with_step(replace(step, stage=event.get("stage", ""), decision=event["decision"]))
    if kind == "step_started":
        attempt = place(event["attempt_dir"])
        folder = attempt.parent.parent
        stage = step.stage or folder.parent.name
        step = replace(step, stage=stage, status="running", attempt=attempt, folder=folder, begun=when)
        return run.with_step(step)
    if event.get("artifact_json"):
        step = replace(step, folder=place(event["artifact_json"]).parent)
    step = replace(step, status=str(event["status"]), ended=when, seconds=event.get("seconds"))
    return run.with_step(replace(step, what=step.what or str(event.get("what") or "")))


def desired(run: RunFiles, ids: Ids) -> dict[str, Wanted]:
    """Every MLflow run this pipeline run stands for, parents first; links to runs without an id are left out."""
    if not run.started:
        return {}
    recipe, sweep = str(run.started["recipe"]), run.started.get("sweep") or {}
    about = {"cookhouse.recipe": recipe, "cookhouse.run": run.run_id}
    wanted = {}
    if sweep:
        identity = {"cookhouse.sweep": sweep["id"], "cookhouse.level": "sweep"}
        told = {"cookhouse.recipe": recipe, **describe.code_tags(run.code)}
        wanted["sweep"] = Wanted(f"sweep {sweep['id']}", identity, told, run.started["t"], run.folder, "sweep")
    wanted["run"] = _run(run, sweep, about, ids)
    for name, step in run.steps.items():
        if step.folder is not None and not step.known:
            wanted[f"step {name}"] = _step(step, run, about, "sweep" if sweep else "run")
    return wanted


def _run(run: RunFiles, sweep: Mapping[str, Any], about: Mapping[str, str], ids: Ids) -> Wanted:
    overrides = [str(item) for item in run.started.get("overrides") or ()]
    identity = {"cookhouse.run": run.run_id, "cookhouse.level": "pipeline"}
    level = {}
    if sweep:  # a combination keeps its run when the sweep goes on in a second command
        identity = {"cookhouse.sweep": sweep["id"], "cookhouse.combination": str(sweep["index"])}
        level = {"cookhouse.level": "combination"}
    params = {"recipe": about["cookhouse.recipe"], "overrides": " ".join(overrides)[: describe.MAX_PARAM]}
    tags, metrics, rows = {}, [], {}
    for name, step in run.steps.items():
        experiment, known = ids.get(f"step {name}", ("", ""))
        short = step.key[: describe.SHORT]
        tags[f"cookhouse.step.{name}"] = f"{step.decision or step.status.upper()} {short}"
        if step.status and step.status != "running":
            tags |= {f"cookhouse.step.{name}.run": known or "-", f"cookhouse.step.{name}.status": step.status}
        params |= describe.params_of(step.record.get("document") or step.document, f"{name}.")
        seconds = step.record.get("seconds", step.seconds)
        main = describe.main_metric(step.record.get("stats", {}))
        rows[name] = {**vars(step), "experiment_id": experiment, "run_id": known, "main": main, "seconds": seconds}
        if step.record:
            copied, made = describe.parent_metrics(name, step.final), float(step.record["created"])
            metrics += [Point(metric, value, made) for metric, value in copied.items()]
    tags["mlflow.note.content"] = describe.parent_note(about["cookhouse.recipe"], overrides, rows)
    status, ended = run.end or ("RUNNING", 0.0)
    return Wanted(
        describe.run_name(about["cookhouse.recipe"], run.run_id, sweep.get("varied", overrides)),
        identity,
        {**about, **level, "cookhouse.overrides": " ".join(overrides), **describe.code_tags(run.code)},
        run.started["t"],
        run.folder,
        parent="sweep" if sweep else "",
        params=params,
        tags=tags,
        metrics=metrics,
        status=status,
        ended=ended,
    )


def _step(step: StepFiles, run: RunFiles, about: Mapping[str, str], parent: str) -> Wanted:
    assert step.folder is not None
    record, attempt, generation = step.record, step.attempt, step.record.get("generation", step.generation)
    code = record.get("provenance") or step.summary.code
    tags = {"cookhouse.folder": str(step.folder), **describe.code_tags(code), **describe.odd_tags(step.summary.odd)}
    if name := record.get("attempt") or (attempt.name if attempt else ""):
        tags["cookhouse.attempt"] = name
    if step.what and not record:
        tags["cookhouse.failure"] = step.what
    status, begun, ended, metrics, files, memory = STATUS.get(step.status, "FAILED"), step.begun, step.ended, [], [], {}
    if record:
        tags |= {
            "cookhouse.content_digest": record["content_digest"],
            "mlflow.note.content": describe.step_note(record),
        }
        items = [item for items in record["inputs"].values() for item in items]
        tags |= {f"cookhouse.input.{item['step']}": item["key"] for item in items}
        status, ended = "FINISHED", float(record["created"])
        begun = ended - float(record.get("seconds") or 0.0)
        stats = describe.stat_metrics(record)
        metrics = [Point(name, value, ended) for name, value in stats.items() if name not in step.summary.last]
        named = [record["manifest"], *(step.places[name] for name in SHOWN_FILES if name in step.places)]
        files, memory = (
            [step.folder / name for name in named],
            {"content": record["content_digest"], "final": step.final},
        )
    elif attempt is not None:
        files = [attempt / "logs" / "traceback.txt"] if status == "FAILED" else []
        if step.attempts and attempt != step.attempts[-1]:
            status = ""  # a later run is at it
    identity = {"cookhouse.key": step.key, "cookhouse.generation": str(generation), "cookhouse.level": "step"}
    overrides = [str(item) for item in run.started.get("overrides") or ()]
    return Wanted(
        describe.step_name(step.step, step.key, overrides),
        identity,
        {**about, "cookhouse.step": step.step, "cookhouse.stage": record.get("stage") or step.stage},
        begun,
        step.folder,
        f"generation-{generation}",
        parent,
        describe.params_of(record.get("document") or step.document),
        tags,
        metrics,
        step.inputs,
        files,
        step.attempts,
        status,
        ended,
        memory,
    )


def difference(want: Wanted, have: Shown) -> Difference:
    """What is to be sent; params are write-once, and a step's key promises that they are the same."""
    tags = {name: value[: describe.MAX_TAG] for name, value in want.tags.items()}
    return Difference(
        {name: value for name, value in want.params.items() if name not in have.params},
        {name: value for name, value in tags.items() if have.tags.get(name) != value},
        [point for point in want.metrics if not _same(have.metrics.get(point.name), point.value)],
        [item for item in want.inputs if item.name not in have.inputs],
        [path for path in want.files if path not in have.files],
    )


def _same(one: float | None, other: float) -> bool:
    return one is not None and (one == other or (math.isnan(one) and math.isnan(other)))


def cuts(steps: Sequence[Mapping[str, tuple[int, int]]]) -> list[dict[str, int]]:
    """For each attempt, oldest first, the step from which on its values of a metric are superseded: the first one of a newer
    attempt, which went on from a checkpoint before. ``steps`` are the first and last steps of each metric.

    ``cuts([{"loss": (0, 9)}, {"loss": (5, 7)}]) == [{"loss": 5}, {}]``"""
    found: list[dict[str, int]] = []
    first: dict[str, int] = {}
    for told in reversed(steps):
        found.append(first)
        first = first | {name: min(begin, first.get(name, begin)) for name, (begin, _) in told.items()}
    return found[::-1]
