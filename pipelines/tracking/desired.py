"""What MLflow should show, from what the files of a run say. Pure: the same files give the same answer, whenever and in how
many looks they were read.

    fold(files, event) -> files                 the events of the pipeline run, one after the other
    desired(files, ids) -> {name: Wanted}       the runs it should be: ``sweep``, ``run``, ``step sft`` ...
    difference(wanted, shown) -> Wanted         what is still to be sent; nothing when everything arrived

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
    """The metric lines of all attempts of a result: last values, and of each metric with values that are no finite number
    how many and the first step."""

    last: Mapping[str, float] = field(default_factory=dict)
    odd: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class StepFiles:
    """One step of a pipeline run: ``told`` by its events, the later over the earlier. The rest lies in the folder of its
    key: ``attempts`` of the generation, oldest first; ``record`` is ``artifact.json``, ``places`` are its manifest's."""

    told: Mapping[str, Any]
    generation: int = 1
    document: Mapping[str, Any] = field(default_factory=dict)
    outcome: Mapping[str, Any] = field(default_factory=dict)
    attempts: tuple[Place, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    summary: Summary = Summary()

    @property
    def attempt(self) -> Place | None:
        return place(self.told["attempt_dir"]) if "attempt_dir" in self.told else None

    @property
    def folder(self) -> Place | None:
        if committed := self.told.get("artifact_json"):
            return place(committed).parent
        return self.attempt.parent.parent if self.attempt else None


@dataclass(frozen=True)
class RunFiles:
    """One pipeline run: its event ``run_started``, its steps, and how it ended (status, seconds since the epoch)."""

    run_id: str
    folder: Place
    code: Mapping[str, Any] = field(default_factory=dict)
    started: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, StepFiles] = field(default_factory=dict)
    end: tuple[str, float] | None = None

    def with_step(self, name: str, step: StepFiles) -> RunFiles:
        return replace(self, steps={**self.steps, name: step})


@dataclass(frozen=True)
class Wanted:
    """What one MLflow run should be. It is found by the tags ``identity`` and made with ``about`` too, as a child of
    ``parent``; the metric lines of ``attempts``, oldest first, belong to it; ``slot`` of ``tracking.json`` in ``folder``
    remembers it, and when it arrived whole its ``content``. An empty ``status`` is not for this run to say."""

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
    content: str = ""


@dataclass(frozen=True)
class Shown:
    """What the store has of a run."""

    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    inputs: frozenset[str] = frozenset()
    files: frozenset[Place] = frozenset()
    status: str = ""


def fold(run: RunFiles, event: Mapping[str, Any]) -> RunFiles:
    """The run after one more of its events. Raises LookupError or TypeError for one that says too little."""
    kind, when = event["kind"], event["t"]
    if kind == "run_started":
        return replace(run, started={"sweep": {}, "overrides": [], **event, "recipe": event["recipe"]})
    if kind == "run_finished":
        return replace(run, end=(STATUS.get(event["status"], "FAILED"), when))
    if kind not in ("step_planned", "step_started", "step_finished"):
        return run
    before = run.steps.get(event["step"]) or StepFiles({"stage": "", "decision": "", "status": ""})
    more = {"status": "running", "begun": when} if kind == "step_started" else {}
    return run.with_step(event["step"], replace(before, told={**before.told, **event, "key": event["key"], **more}))


def desired(run: RunFiles, ids: Ids) -> dict[str, Wanted]:
    """Every MLflow run this pipeline run stands for, parents first; links to runs without an id are left out."""
    if not run.started:
        return {}
    sweep, wanted, (status, ended) = run.started["sweep"], {}, run.end or ("RUNNING", 0.0)
    if sweep:
        identity = {"cookhouse.sweep": sweep["id"], "cookhouse.level": "sweep"}
        about = {"cookhouse.recipe": run.started["recipe"], **describe.code_tags(run.code)}
        name, begun = f"sweep {sweep['id']}", run.started["t"]
        wanted["sweep"] = Wanted(name, identity, about, begun, run.folder, "sweep", status=status, ended=ended)
    wanted["run"] = _run(run, ids)
    steps = {f"step {name}": _step(name, step, run) for name, step in run.steps.items() if step.folder is not None}
    return wanted | steps


def _run(run: RunFiles, ids: Ids) -> Wanted:
    recipe, sweep, overrides = run.started["recipe"], run.started["sweep"], run.started["overrides"]
    identity = {"cookhouse.run": run.run_id, "cookhouse.level": "pipeline"}
    about = {"cookhouse.recipe": recipe, "cookhouse.run": run.run_id, "cookhouse.overrides": " ".join(overrides)}
    if sweep:  # a combination keeps its run when the sweep goes on in a second command
        identity = {"cookhouse.sweep": sweep["id"], "cookhouse.combination": str(sweep["index"])}
        about["cookhouse.level"] = "combination"
    params, metrics = {"recipe": recipe, "overrides": " ".join(overrides)[: describe.MAX_PARAM]}, []
    tags, rows = {}, {}
    for name, step in run.steps.items():
        told, record, (experiment, known) = step.told, step.record, ids.get(f"step {name}", ("", ""))
        decided = told["decision"] or told["status"].upper()
        tags[f"cookhouse.step.{name}"] = f"{decided} {told['key'][: describe.SHORT]}"
        if told["status"] not in ("", "running"):
            tags |= {f"cookhouse.step.{name}.run": known or "-", f"cookhouse.step.{name}.status": told["status"]}
        params |= describe.params_of(record.get("document") or step.document, f"{name}.")
        main = describe.main_metric(record.get("stats", {}))
        rows[name] = {**told, "experiment_id": experiment, "run_id": known, "main": main}
        if record:
            rows[name]["seconds"] = record["seconds"]
            final = {**step.summary.last, **describe.stat_metrics(record)}
            copied = describe.parent_metrics(name, final).items()
            metrics += [Point(metric, value, float(record["created"])) for metric, value in copied]
    tags["mlflow.note.content"] = describe.parent_note(recipe, overrides, rows)
    status, ended = run.end or ("RUNNING", 0.0)
    return Wanted(
        describe.run_name(recipe, run.run_id, sweep.get("varied", overrides)),
        identity,
        {**about, **describe.code_tags(run.code)},
        run.started["t"],
        run.folder,
        parent="sweep" if sweep else "",
        params=params,
        tags=tags,
        metrics=metrics,
        status=status,
        ended=ended,
    )


def _step(name: str, step: StepFiles, run: RunFiles) -> Wanted:
    folder, attempt, record, told = step.folder, step.attempt, step.record, step.told
    assert folder is not None
    identity = {"cookhouse.key": told["key"], "cookhouse.generation": str(step.generation), "cookhouse.level": "step"}
    stage = record.get("stage") or told["stage"] or folder.parent.name
    about = {"cookhouse.step": name, "cookhouse.stage": stage, "cookhouse.recipe": run.started["recipe"]}
    code = record.get("provenance") or step.outcome.get("provenance", {})
    tags = {"cookhouse.folder": str(folder), **describe.code_tags(code), **describe.odd_tags(step.summary.odd)}
    want = Wanted(
        describe.step_name(name, told["key"], run.started["overrides"]),
        identity,
        {**about, "cookhouse.run": run.run_id},
        told.get("begun", told["t"]),
        folder,
        f"generation-{step.generation}",
        "sweep" if run.started["sweep"] else "run",
        describe.params_of(record.get("document") or step.document),
        inputs=step.inputs,
        attempts=step.attempts,
    )
    if record:
        tags |= {"cookhouse.attempt": record["attempt"], "cookhouse.content_digest": record["content_digest"]}
        tags["mlflow.note.content"] = describe.step_note(record)
        items = [item for items in record["inputs"].values() for item in items]
        tags |= {f"cookhouse.input.{item['step']}": item["key"] for item in items}
        made, stats = float(record["created"]), describe.stat_metrics(record)
        named = [record["manifest"], *(step.places[name] for name in SHOWN_FILES if name in step.places)]
        return replace(
            want,
            started=made - float(record.get("seconds") or 0.0),
            tags=tags,
            metrics=[Point(metric, value, made) for metric, value in stats.items() if metric not in step.summary.last],
            files=[folder / file for file in named],
            status="FINISHED",
            ended=made,
            content=record["content_digest"],
        )
    status, files = STATUS.get(told["status"], "FAILED"), []
    if attempt is not None:
        tags["cookhouse.attempt"] = attempt.name
        files = [attempt / "logs" / "traceback.txt"] if status == "FAILED" else []
        if step.attempts and attempt != step.attempts[-1]:
            status = ""  # a later run is at it
    if what := step.outcome.get("what") or told.get("what"):
        tags["cookhouse.failure"] = str(what)
    return replace(want, tags=tags, files=files, status=status, ended=told["t"])


def difference(want: Wanted, have: Shown) -> Wanted:
    """What is to be sent; params are write-once, and a step's key promises that they are the same."""
    tags = {name: value[: describe.MAX_TAG] for name, value in want.tags.items()}
    return replace(
        want,
        params={name: value for name, value in want.params.items() if name not in have.params},
        tags={name: value for name, value in tags.items() if have.tags.get(name) != value},
        metrics=[point for point in want.metrics if not _same(have.metrics.get(point.name), point.value)],
        inputs=[item for item in want.inputs if item.name not in have.inputs],
        files=[path for path in want.files if path not in have.files],
        status="" if want.status == have.status else want.status,
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
