"""``cookhouse adopt``: data that exists already, registered as what a step would make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cookhouse.cli import options
from cookhouse.cli.words import size

if TYPE_CHECKING:
    from pipelines.workflow.plan import Plan, PlannedStep
    from pipelines.workflow.store import Commit


@click.command()
@click.argument("step")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@options.overrides
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="As for run: it is part of the key.")
@options.verbose
def adopt(step: str, folder: Path, overrides: tuple[str, ...], limit: int | None) -> None:
    """Register FOLDER as the result of STEP, as if it had been made: the plan then says HIT.

    FOLDER is an artifact of another store, or a plain folder with the files the stage would write. Files are linked, not
    copied, where the disk allows it: do not change them afterwards. Shards are proven against their manifests first.
    Foreign WebDataset tars are not results; a step of stage 'adopt' turns them into shards.
    """
    from pipelines.core import places
    from pipelines.core.errors import ConfigError
    from pipelines.workflow.lease import Lease
    from pipelines.workflow.plan import Selection

    project, store = options.opened(overrides, recipe=True)
    plan = project.plan(store, Selection(limit, until=(step,)))
    planned = plan[step]
    if planned.facts.record is not None:
        raise ConfigError(
            f"step '{step}' is made already",
            where=str(planned.facts.record.file),
            do="nothing: the plan says HIT; for other data change the configuration",
        )
    files, stats = found_in(folder, planned)
    lease = Lease.acquire(planned.facts.folder, run_id="adopt", step=step)
    try:
        attempt = store.begin(planned.facts.folder, generation=1)
        copies = sum(not places.link(file, attempt.dir / name) for name, file in files.items())
        about = commit_of(planned, plan, {"from": str(folder.absolute()), "files": len(files), "copied": copies})
        record = store.commit(attempt, about, stats, generation=1, seconds=0.0)
    finally:
        lease.release()
    how = "linked" if not copies else f"{len(files) - copies} linked, {copies} copied"
    click.echo(f"step '{step}' is {record.folder}\n{len(files)} files, {size(record.data['bytes'])}, {how}")


def found_in(folder: Path, planned: PlannedStep) -> tuple[dict[str, Path], dict[str, Any]]:
    """(logical name -> file, stats). Raises ConfigError for a folder that cannot be what the step would make, DataError
    for shards that are not as their manifests say."""
    from pipelines.core.errors import ConfigError, DataError
    from pipelines.workflow.attempt import RESERVED
    from pipelines.workflow.store import read_record

    record = read_record(folder)
    if record is not None:
        artifact = record.open(record.step)
        if record.data["stage"] != planned.keyed.step.definition.name:
            raise ConfigError(
                f"{folder} is a result of stage {record.data['stage']}",
                why=f"step '{planned.name}' is of stage {planned.keyed.step.definition.name}",
            )
        return {name: artifact.path(name) for name in artifact.names}, record.stats
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    taken = sorted({name.split("/")[0] for name in files} & set(RESERVED))
    if not files or taken:
        raise ConfigError(
            f"{folder} cannot be adopted",
            why=f"the names {', '.join(taken)} belong to the workflow" if taken else "it holds no file",
        )
    if not planned.keyed.step.definition.replaces:
        return files, {"files": len(files)}
    from pipelines.shards import inspect
    from pipelines.shards.index import Folder
    from pipelines.shards.verify import verify

    if not (folder / "manifest").is_dir():
        raise ConfigError(
            f"{folder} holds no shards of ours",
            why="there is no manifest folder",
            do="foreign tars are turned into shards by a step of stage 'adopt'",
        )
    problems = [str(problem) for problem in verify(Folder(folder))]
    if problems:
        raise DataError(
            f"{folder} is not as its manifests say", why="; ".join(problems[:3]), do="cookhouse shards verify"
        )
    return files, {"samples": inspect.stats(Folder(folder))["ok"]}


def commit_of(planned: PlannedStep, plan: Plan, adopted: dict[str, Any]) -> Commit:
    """What the record says; inputs that are not made are left out, for nobody read them."""
    from dataclasses import replace

    from pipelines.workflow import execute

    step = planned.keyed.step
    artifacts = {
        port: [record.open(name) for name in names if (record := plan[name].facts.record) is not None]
        for port, names in step.inputs.items()
    }
    commit = execute.commit_of(
        step.definition,
        planned.keyed.probed.config,
        artifacts,
        step=step.name,
        key=planned.key,
        document=planned.keyed.document,
    )
    return replace(commit, provenance={**commit.provenance, "adopted": adopted})
