"""Where a model lies: a folder, an artifact, or what a step made."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cookhouse.cli.failures import say
from cookhouse.cli.options import opened
from pipelines.core import storage
from pipelines.core.errors import ConfigError, did_you_mean
from pipelines.workflow.runs import find_run
from pipelines.workflow.store import Record, Store, read_record


def find_model(name: str, overrides: tuple[str, ...] = ()) -> Path:
    """The folder with ``config.json``: ``name`` itself, the ``model/`` of an artifact folder, or of what the step ``name``
    made: in the newest run of this machine, else the newest result in the store. Raises ConfigError when there is none."""
    folder = storage.place(name)
    if isinstance(folder, Path) and (folder / "config.json").is_file():
        return folder
    if (record := read_record(folder)) is not None:
        return record.open(record.step).path("model")
    if "/" in name or storage.exists(folder):
        raise ConfigError(
            "there is no model here",
            where=name,
            why="it is no artifact of a store"
            if isinstance(folder, storage.Remote)
            else "the folder has neither a config.json nor an artifact.json",
            do="give the folder of a model or of a pretrain, sft or rl artifact, or the name of a step",
        )
    return _of_step(name, overrides)


def newest_result(store: Store, step: str, planned: Iterable[str] = ()) -> Record:
    """The newest committed result of a step by its name, whichever run or machine made it. Raises ConfigError when there is
    none; ``planned`` are names that may be meant too."""
    every = [record for stage in store.stages() for record in store.records(stage)]
    named = [record for record in every if record.step == step]
    if not named:
        known = sorted({*planned, *(record.step for record in every)})
        raise ConfigError(
            f"'{step}' is neither a folder nor a step that was made",
            where=str(store.root),
            why=f"made so far: {', '.join(known) or 'nothing'}",
            do=did_you_mean(step, known) or "storage.root=... looks elsewhere",
        )
    return max(named, key=lambda record: float(record.data["created"]))


def _of_step(name: str, overrides: tuple[str, ...]) -> Path:
    _, store = opened(overrides, recipe=False)
    run = find_run(store.home)
    steps = {step["step"]: step for step in run.data["steps"]} if run is not None else {}
    if name in steps:
        record = store.find(steps[name]["stage"], steps[name]["key"])
        if record is None:
            raise ConfigError(
                f"step {name!r} of run {run.run_id if run else ''} has no result yet",
                do="cookhouse status shows how it stands",
            )
    else:
        record = newest_result(store, name, steps)
        say(f"{name}: no step of the newest run here; its newest result is {record.folder}")
    artifact = record.open(name)
    if not any(file.startswith("model/") for file in artifact.names):
        raise ConfigError(f"step {name!r} made no model", do="name a pretrain, sft or rl step")
    return artifact.path("model")
