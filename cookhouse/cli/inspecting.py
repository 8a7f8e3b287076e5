"""``cookhouse status | logs``: what runs, what it said. Neither needs Ray."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cookhouse.cli import options

if TYPE_CHECKING:
    from cookhouse.project import Project
    from pipelines.workflow.runs import RunRecord
    from pipelines.workflow.status import StepStatus
    from pipelines.workflow.store import Store

COLOURS = {"done": "green", "running": "yellow", "starting": "yellow", "failed": "red", "stopped": "red", "LOST": "red"}
LIVELY = ("running", "starting", "waiting")
WATCH_S = 1.0
FOLLOW_S = 0.3
RUN = click.option("--run", "run_id", metavar="ID", help="A run by its id; default: the newest.")


def newest(overrides: tuple[str, ...], run_id: str | None) -> tuple[Project, Store, RunRecord]:
    """The project (without its steps), its store, and a run of it. Raises ConfigError when there is none."""
    from cookhouse.project import load_project
    from pipelines.core.errors import ConfigError
    from pipelines.workflow.runs import find_run

    kept = [text for text in overrides if not text.startswith(("recipe=", "steps."))]
    project = load_project(kept, recipe=False)
    store = project.store
    found = find_run(store.home, run_id)
    if found is None:
        raise ConfigError(
            f"there is no run {run_id or ''}".rstrip(),
            where=str(store.home / "runs"),
            do="cookhouse run recipe=... starts one; storage.root=... looks elsewhere",
        )
    return project, store, found


@click.command()
@options.overrides
@RUN
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--html",
    is_flag=False,
    flag_value="",
    metavar="FILE",
    help="Draw it as one page; default: beside the run's events.",
)
@click.option("--watch", is_flag=True, help="Go on until the run ends.")
@options.verbose
def status(overrides: tuple[str, ...], run_id: str | None, as_json: bool, html: str | None, watch: bool) -> None:
    """Show how the steps of a run stand, derived from what is there."""
    if html and "=" in html and "/" not in html.partition("=")[0]:  # --html storage.root=...: an override, no file
        overrides, html = (*overrides, html), ""
    project, store, run = newest(overrides, run_id)
    if html is not None:
        page = Path(html) if html else run.events_file.with_name("timeline.html")
        while draw(project, store, run, page) and watch:
            time.sleep(WATCH_S)
        click.echo(page)
    elif as_json:
        click.echo(json.dumps(as_dict(store, run)))
    elif watch:
        _watch(store, run)
    else:
        click.echo("\n".join(lines(store, run)))


def draw(project: Project, store: Store, run: RunRecord, page: Path) -> bool:
    """Write the timeline page; True while the run goes on."""
    from cookhouse.pages.links import mlflow_links
    from cookhouse.pages.timeline import render
    from pipelines.core import storage
    from pipelines.workflow.timeline import read_timeline

    timeline = read_timeline(store, run)
    text = render(timeline, mlflow_links(timeline, project.tracking_uri), str(page.parent.absolute()))
    page.parent.mkdir(parents=True, exist_ok=True)
    storage.put(page, text.encode())
    return timeline.state == "running"


def as_dict(store: Store, run: RunRecord) -> dict[str, Any]:
    """Stable JSON of ``status --json``."""
    from pipelines.workflow import process
    from pipelines.workflow.status import run_status

    return {
        "run_id": run.run_id,
        "recipe": run.data["recipe"],
        "driver_alive": process.is_alive(run.data["driver"]),
        "steps": [vars(row) for row in run_status(store, run)],
    }


def lines(store: Store, run: RunRecord) -> list[str]:
    """The table of ``status``: a head and a line a step."""
    from pipelines.workflow import process
    from pipelines.workflow.status import run_status

    driver = process.is_alive(run.data["driver"])
    ago = time.time() - run.data["started"]
    command = "running" if driver else "on another host" if driver is None else "ended"
    found = [f"run {run.run_id}  recipe {run.data['recipe']}  started {ago / 60:.0f} min ago  command {command}"]
    rows = run_status(store, run)
    width = max(len(row.step) for row in rows)
    return found + [_line(row, width) for row in rows]


def _line(row: StepStatus, width: int) -> str:
    state = click.style(f"{row.state:<9}", fg=COLOURS.get(row.state, "bright_black"))
    about = [
        f"{row.done}/{row.total} {row.unit}" if row.total is not None else "",
        f"attempt {row.attempt}" if row.attempt > 1 else "",
        f"{row.age_s:.0f} s ago" if row.age_s is not None and row.state == "running" else "",
        row.note,
    ]
    return f"{state}{row.step:<{width}}  {row.key[:12]}  {'  '.join(part for part in about if part)}".rstrip()


def _watch(store: Store, run: RunRecord) -> None:
    """On a terminal the table in place, elsewhere a line whenever a step changes its state."""
    from pipelines.workflow.status import run_status

    if sys.stdout.isatty():
        from rich.live import Live
        from rich.text import Text

        from cookhouse.cli.view import console

        with Live(console=console(stderr=False), auto_refresh=False) as live:
            going = True
            while going:
                going = run.going
                live.update(Text.from_ansi("\n".join(lines(store, run))), refresh=True)
                if going:
                    time.sleep(WATCH_S)
        return
    states: dict[str, str] = {}
    going = True
    while going:
        going = run.going
        rows = run_status(store, run)
        for row in rows:
            if states.get(row.step) != row.state:
                states[row.step] = row.state
                click.echo(_line(row, max(len(item.step) for item in rows)))
        if going:
            time.sleep(WATCH_S)


@click.command()
@click.argument("step")
@options.overrides
@click.option("-f", "--follow", is_flag=True, help="Go on until the step ends.")
@click.option("--attempt", type=int, metavar="N", help="An earlier attempt; default: the newest.")
@RUN
@options.verbose
def logs(step: str, overrides: tuple[str, ...], follow: bool, attempt: int | None, run_id: str | None) -> None:
    """Print what a step printed, in its newest attempt."""
    from pipelines.core.errors import ConfigError, did_you_mean
    from pipelines.core.storage import place
    from pipelines.core.trail import Trail
    from pipelines.workflow.status import step_status

    _, store, run = newest(overrides, run_id)
    rows = {row["step"]: row for row in run.data["steps"]}
    if step not in rows:
        raise ConfigError(
            f"run {run.run_id} has no step '{step}'", do=did_you_mean(step, rows) or f"its steps: {', '.join(rows)}"
        )
    row = rows[step]
    trail: Trail | None = None
    while True:
        live = step_status(store, row, since=float(run.data["started"])).state in LIVELY
        attempts = dict(store.attempts(place(row["folder"])))
        if attempt is not None and attempt not in attempts:
            tried = ", ".join(str(number) for number in attempts) or "none"
            raise ConfigError(f"step '{step}' has no attempt {attempt}", do=f"its attempts: {tried}")
        number = attempt or max(attempts, default=None)
        log = attempts[number] / "logs" / "job.log" if number is not None else None
        if log is not None and (trail is None or trail.path != log):
            trail = Trail(log)
            click.echo(f"==> {log}", err=True)
        if trail is not None:
            click.echo(trail.new().decode(errors="replace"), nl=False)
        if not follow or not live:
            break
        time.sleep(FOLLOW_S)
    if trail is None:
        click.echo(f"step '{step}' has not been tried yet", err=True)
