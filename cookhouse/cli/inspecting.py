"""``cookhouse status | logs``: what runs, what it said. Neither needs Ray."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cookhouse.cli import options

if TYPE_CHECKING:
    from pipelines.workflow.runs import RunRecord
    from pipelines.workflow.store import Store

COLOURS = {"done": "green", "running": "yellow", "starting": "yellow", "failed": "red", "stopped": "red", "LOST": "red"}


def _newest(overrides: tuple[str, ...], run_id: str | None) -> tuple[Store, RunRecord]:
    from cookhouse.project import load_project
    from pipelines.core.errors import ConfigError
    from pipelines.workflow.runs import find_run

    store = load_project([text for text in overrides if not text.startswith(("recipe=", "steps."))], recipe=False).store
    found = find_run(store.home, run_id)
    if found is None:
        raise ConfigError(
            f"there is no run {run_id or ''}".rstrip(),
            where=str(store.home / "runs"),
            do="cookhouse run recipe=... starts one; storage.root=... looks elsewhere",
        )
    return store, found


@click.command()
@options.overrides
@click.option("--run", "run_id", metavar="ID", help="A run by its id; default: the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.verbose
def status(overrides: tuple[str, ...], run_id: str | None, as_json: bool) -> None:
    """Show how the steps of a run stand, derived from what is there."""
    from pipelines.workflow import process
    from pipelines.workflow.status import run_status

    store, run = _newest(overrides, run_id)
    rows = run_status(store, run)
    driver = process.is_alive(run.data["driver"])
    if as_json:
        click.echo(
            json.dumps(
                {
                    "run_id": run.run_id,
                    "recipe": run.data["recipe"],
                    "driver_alive": driver,
                    "steps": [row.as_json() for row in rows],
                }
            )
        )
        return
    ago = time.time() - run.data["started"]
    click.echo(
        f"run {run.run_id}  recipe {run.data['recipe']}  started {ago / 60:.0f} min ago  "
        f"command {'running' if driver else 'on another host' if driver is None else 'ended'}"
    )
    width = max(len(row.step) for row in rows)
    for row in rows:
        state = click.style(f"{row.state:<9}", fg=COLOURS.get(row.state, "bright_black"))
        about = [
            f"{row.done}/{row.total} {row.unit}" if row.total is not None else "",
            f"attempt {row.attempt}" if row.attempt > 1 else "",
            f"{row.age_s:.0f} s ago" if row.age_s is not None and row.state == "running" else "",
            row.note,
        ]
        click.echo(f"{state}{row.step:<{width}}  {row.key[:12]}  {'  '.join(part for part in about if part)}".rstrip())


@click.command()
@click.argument("step")
@options.overrides
@click.option("-f", "--follow", is_flag=True, help="Go on until the step ends.")
@click.option("--run", "run_id", metavar="ID", help="A run by its id; default: the newest.")
@options.verbose
def logs(step: str, overrides: tuple[str, ...], follow: bool, run_id: str | None) -> None:
    """Print what a step printed, in its newest attempt."""
    from pipelines.core.errors import ConfigError, did_you_mean
    from pipelines.workflow.status import step_status

    store, run = _newest(overrides, run_id)
    rows = {row["step"]: row for row in run.data["steps"]}
    if step not in rows:
        raise ConfigError(
            f"run {run.run_id} has no step '{step}'", do=did_you_mean(step, rows) or f"its steps: {', '.join(rows)}"
        )
    row = rows[step]
    shown, at = None, 0
    while True:
        live = step_status(store, row, since=float(run.data["started"])).state in ("running", "starting", "waiting")
        attempts = store.attempts(Path(row["folder"]))
        log = attempts[-1][1] / "logs" / "job.log" if attempts else None
        if log != shown:
            shown, at = log, 0
            if log is not None:
                click.echo(f"==> {log}", err=True)
        if log is not None and log.exists():
            with log.open("rb") as file:
                file.seek(at)
                text = file.read()
            at += len(text)
            click.echo(text.decode(errors="replace"), nl=False)
        if not follow or not live:
            break
        time.sleep(0.3)
    if shown is None:
        click.echo(f"step '{step}' has not been tried yet", err=True)
