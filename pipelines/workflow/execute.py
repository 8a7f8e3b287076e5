"""Run one attempt where the work happens and commit it there.

The process that did the work also publishes it, so a driver that was killed meanwhile finds a finished step when it
comes back. The exclusive create of the store decides if two processes ever do the same.
"""

from __future__ import annotations

import contextlib
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.core import storage
from pipelines.core.canonical import canonical_json
from pipelines.core.errors import ConfigError, CookhouseError, DataError, FailureClass, InfraError, first_line
from pipelines.core.executor import Executor, InProcess
from pipelines.core.identity import StageConfig, identity_of
from pipelines.core.secrets import redact
from pipelines.core.storage import Place
from pipelines.core.trail import shipped
from pipelines.workflow.artifact import Artifact
from pipelines.workflow.attempt import Attempt, work_folder
from pipelines.workflow.files import read_json, translate_full_disk, write_json
from pipelines.workflow.keys import Document, source_hash
from pipelines.workflow.provenance import provenance
from pipelines.workflow.stage import Inputs, SourceFile, StageDef, load_stage
from pipelines.workflow.store import Record, commit, read_record


def run_attempt(
    definition: StageDef, config: StageConfig, inputs: Inputs, attempt: Attempt, about: Mapping[str, Any]
) -> Record:
    """Call the stage and commit what it left, ``about``: the step, its key and key document, the generation. Raises what
    the stage raises; a full disk becomes a DataError and stats that are no JSON a DataError."""
    started = time.monotonic()
    try:
        stats = definition.function(config, inputs, attempt) or {}
        try:
            json.dumps(stats, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DataError(f"the stats of stage {definition.name} are not plain JSON", why=str(error)) from error
        record = {
            **about,
            "stage": definition.name,
            "config": config.model_dump(mode="json"),
            "inputs": {port: [item.named for item in items] for port, items in inputs.artifacts.items()},
            "source_hash": source_hash(definition),
            "deterministic": definition.deterministic,
            "provenance": provenance(),
        }
        return commit(attempt, record, stats, seconds=time.monotonic() - started)
    except OSError as error:
        raise translate_full_disk(error, error.filename or attempt.dir) from error
    finally:
        attempt.events.close()


@dataclass(frozen=True)
class Spec:
    """Everything another process needs to run one attempt, as JSON (``spec.json`` in the attempt's folder). All paths are
    absolute: a job's working directory is its own, and the caller's need not exist where it runs."""

    stage: str
    step: str
    key: str
    document: Document
    config: Mapping[str, Any]
    inputs: Mapping[str, list[dict[str, str]]]
    sources: Mapping[str, Sequence[Sequence[Any]]]
    attempt: str
    elders: list[str]
    generation: int
    limit: int | None
    uses_ray: bool

    @classmethod
    def read(cls, path: Place) -> Spec:
        """Raises InfraError when it is not there: its store is gone."""
        data = read_json(path)
        if data is None:
            raise InfraError("the description of this attempt cannot be read", where=str(path))
        return cls(**data)

    def write(self) -> None:
        write_json(storage.place(self.attempt) / "spec.json", vars(self))

    def open(self) -> Attempt:
        attempt = storage.place(self.attempt)
        return Attempt(work_folder(attempt), attempt, self.limit, tuple(map(storage.place, self.elders)))


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, as its own process saw it (``outcome.json``). No outcome and a dead process means
    killed."""

    status: str
    failure: FailureClass | None = None
    what: str = ""
    where: str = ""
    why: str = ""
    do: str = ""
    log: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, attempt: Place) -> Outcome | None:
        data = read_json(attempt / "outcome.json")
        return cls(**data) if data else None


APPENDED = ("logs/job.log", "logs/events.jsonl")
"""What a remote store gets in numbered parts while an attempt runs."""

RESERVE = 1 << 16
"""Bytes kept free during a step, so that a full disk can still be reported."""


def execute(spec: Spec, executor: Callable[[], Executor]) -> Outcome:
    """Run the attempt a spec describes and write down how it ended. ``executor`` joins what the pieces of the work run on;
    it is not asked for a stage that uses no Ray. Never raises for a failing stage; KeyboardInterrupt and SystemExit pass
    through after the outcome says ``killed``."""
    attempt = spec.open()
    log = attempt.dir / "logs" / "traceback.txt"
    reserve = attempt.dir / "logs" / "reserve"
    carried = shipped(attempt.dir, attempt.place, APPENDED) if attempt.carries else contextlib.nullcontext()
    with carried:
        try:
            try:
                log.parent.mkdir(parents=True, exist_ok=True)
                reserve.write_bytes(bytes(RESERVE))
            except OSError as error:
                raise translate_full_disk(error, reserve) from error
            _run(spec, replace(attempt, executor=executor() if spec.uses_ray else InProcess()))
            outcome = Outcome("ok")
        except (KeyboardInterrupt, SystemExit):
            write_json(attempt.place / "outcome.json", Outcome("killed", "interrupted").__dict__)
            raise
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk must not hide the error that is being reported
                log.parent.mkdir(parents=True, exist_ok=True)
                log.write_text(redact(traceback.format_exc()), encoding="utf-8")
            outcome = _failed(error, spec, str(attempt.place / "logs" / log.name))
        finally:
            reserve.unlink(missing_ok=True)
    with contextlib.suppress(OSError, CookhouseError):  # the disk is full to the last byte: the exit code has to say it
        if outcome.log:
            storage.upload(log, attempt.place / "logs" / log.name)
        told = {name: redact(text) if isinstance(text, str) else text for name, text in vars(outcome).items()}
        write_json(attempt.place / "outcome.json", {**told, "provenance": provenance()})
    return outcome


def _failed(error: BaseException, spec: Spec, log: str) -> Outcome:
    if isinstance(error, CookhouseError):
        return Outcome("failed", error.failure, error.what, error.where, error.why, error.do, log)
    where = f"step {spec.step}"
    if isinstance(error, ModuleNotFoundError):
        try:
            needs = load_stage(spec.stage).needs
        except Exception:  # the module that lacks it is the stage's own
            needs = ""
        do = f"pip install 'cookhouse[{needs}]'" if needs else "install it, then run the same command again"
        what = f"stage needs the package '{error.name}', which is not installed"
        return Outcome("failed", "config", what, where, str(error), do, log)
    what, frame = f"{type(error).__name__}: {first_line(error)}", traceback.extract_tb(error.__traceback__)[-1]
    why = f"raised at {frame.filename}:{frame.lineno} in {frame.name}"
    return Outcome("failed", "user", what, where, why, "the traceback is in the log", log)


def _run(spec: Spec, attempt: Attempt) -> None:
    definition = load_stage(spec.stage)
    config = definition.config.model_validate(spec.config)
    if canonical_json(identity_of(config)) != canonical_json(spec.document["config"]):
        raise ConfigError(
            f"stage {definition.name} reads another configuration here than where the run was planned",
            where=f"step {spec.step}",
            why="the packages of the two processes differ",
            do="use the same installation on both sides; for a local Ray: cookhouse down, then run again",
        )
    artifacts = {port: tuple(_open_input(**item) for item in items) for port, items in spec.inputs.items()}
    sources = {name: tuple(SourceFile(*row) for row in rows) for name, rows in spec.sources.items()}
    about = {name: getattr(spec, name) for name in ("step", "key", "document", "generation")}
    run_attempt(definition, config, Inputs(artifacts, sources), attempt, about)


def _open_input(step: str, key: str, folder: str) -> Artifact:
    record = read_record(storage.place(folder))
    if record is None or record.key != key:
        why, do = "no committed artifact with its key lies there", "run the same command again: it makes the input anew"
        raise DataError(f"the input '{step}' is gone", where=folder, why=why, do=do)
    return record.open(step)
