"""Where a model lies: a folder, an artifact, or a step of the newest run."""

from __future__ import annotations

from pathlib import Path


def find_model(name: str, overrides: tuple[str, ...] = ()) -> Path:
    """The folder with ``config.json``: ``name`` itself, the ``model/`` of an artifact folder, or of what the step
    ``name`` of the newest run made. Raises ConfigError when there is none."""
    from pipelines.core import places
    from pipelines.core.errors import ConfigError
    from pipelines.workflow.store import read_record

    folder = places.place(name)
    remote = places.is_remote(folder)
    if not remote and (folder / "config.json").is_file():
        return folder
    record = read_record(folder) if remote or folder.is_dir() else None
    if record is not None:
        return record.open(record.step).path("model")
    if "/" in name or folder.exists():
        raise ConfigError(
            "there is no model here",
            where=name,
            why="it is no artifact of a store"
            if remote
            else "the folder has neither a config.json nor an artifact.json",
            do="give the folder of a model or of a pretrain, sft or rl artifact, or the name of a step",
        )
    return _of_step(name, overrides)


def _of_step(name: str, overrides: tuple[str, ...]) -> Path:
    from cookhouse.project import load_project
    from pipelines.core.errors import ConfigError, did_you_mean
    from pipelines.workflow.runs import find_run

    kept = [text for text in overrides if not text.startswith(("recipe=", "steps."))]
    store = load_project(kept, recipe=False).store
    run = find_run(store.home)
    if run is None:
        raise ConfigError(
            f"{name!r} is not a folder, and there is no run it could be a step of",
            where=str(store.home / "runs"),
            do="give the folder of a model; storage.root=... looks for runs elsewhere",
        )
    steps = {step["step"]: step for step in run.data["steps"]}
    if name not in steps:
        close = did_you_mean(name, steps)
        raise ConfigError(
            f"{name!r} is neither a folder nor a step of run {run.run_id}", do=close or f"steps: {', '.join(steps)}"
        )
    record = store.find(steps[name]["stage"], steps[name]["key"])
    if record is None:
        raise ConfigError(
            f"step {name!r} of run {run.run_id} has no result yet", do="cookhouse status shows how it stands"
        )
    artifact = record.open(name)
    if not any(file.startswith("model/") for file in artifact.names):
        raise ConfigError(f"step {name!r} made no model", do="name a pretrain, sft or rl step")
    return artifact.path("model")
