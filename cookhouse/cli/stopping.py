"""``cookhouse cancel``: stop a run or one of its steps, also one whose command is gone."""

from __future__ import annotations

import time

import click

from cookhouse.cli import options
from cookhouse.cli.inspecting import RUN, known_steps, newest
from cookhouse.project import Project
from cookhouse.session import make_backend
from pipelines.core.storage import place
from pipelines.workflow.backends import Handle
from pipelines.workflow.files import read_json
from pipelines.workflow.runs import RunRecord
from pipelines.workflow.status import run_status
from pipelines.workflow.store import Store

ASK_S = 0.2


@click.command()
@options.words
@RUN
@click.option("--timeout", default=60.0, show_default=True, metavar="SECONDS", help="How long to wait for the end.")
@options.verbose
def cancel(words: tuple[str, ...], run_id: str | None, timeout: float) -> int:
    """Stop a run, or only its STEPs; what was committed stays, units too.

    The command that carries out the run does it; if that was killed, its jobs are stopped directly.
    """
    steps, overrides = options.targets_and_overrides(words)
    project, store, run = newest(overrides, run_id)
    known_steps(run, steps)
    if not run.going:
        stopped = _stop_orphans(project, store, run, steps)
        click.echo("\n".join(f"stopped {name}" for name in stopped) or f"run {run.run_id} has ended; nothing to stop")
        return 0
    for step in steps or (None,):
        run.ask_to_stop(step)
    deadline = time.monotonic() + timeout
    while _at_work(store, run, steps):
        if time.monotonic() > deadline:
            click.echo(f"run {run.run_id} was asked to stop and still works after {timeout:.0f} s", err=True)
            return 4
        time.sleep(ASK_S)
    click.echo(f"stopped {', '.join(steps) or f'run {run.run_id}'}")
    return 0


def _at_work(store: Store, run: RunRecord, steps: tuple[str, ...]) -> bool:
    """Whether the run, or any of ``steps``, still goes on."""
    busy = ("running", "starting")
    return run.going and (not steps or any(run_status(store, run)[step].state in busy for step in steps))


def _stop_orphans(project: Project, store: Store, run: RunRecord, steps: tuple[str, ...]) -> list[str]:
    """Stop the jobs that a killed command left; returns the steps that had one."""
    found = run_status(store, run).steps
    alive = [row for row in found if row.state == "running" and (not steps or row.step in steps)]
    if not alive:
        return []
    backend = make_backend(project, store, run.data["backend"], keep=True)()
    try:
        for row in alive:
            _, attempt = store.attempts(place(row.folder))[-1]
            submission = (read_json(attempt / "attempt.json") or {}).get("submission", "")
            backend.cancel(Handle(submission, attempt))
    finally:
        backend.close()
    return [row.step for row in alive]
