"""``cookhouse status | logs``: what runs, what it said. Neither needs Ray."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import click

from cookhouse.cli import options
from cookhouse.cli.view import console
from cookhouse.pages.links import mlflow_links
from cookhouse.pages.timeline import render
from cookhouse.project import Project
from pipelines.core import storage
from pipelines.core.errors import ConfigError, no_such
from pipelines.core.storage import place
from pipelines.core.trail import Trail
from pipelines.workflow import process
from pipelines.workflow.runs import RunRecord, find_run
from pipelines.workflow.status import RunStatus, StepStatus, run_status
from pipelines.workflow.store import Store

COLOURS = {"done": "green", "running": "yellow", "starting": "yellow", "failed": "red", "stopped": "red", "LOST": "red"}
LIVELY = ("running", "starting", "waiting")
COMMAND = {True: "running", None: "on another host", False: "ended"}
WATCH_S = 1.0
FOLLOW_S = 0.3
RUN = click.option("--run", "run_id", metavar="ID", help="A run by its id; default: the newest.")


def newest(overrides: tuple[str, ...], run_id: str | None) -> tuple[Project, Store, RunRecord]:
    """The project (without its steps), its store, and a run of it. Raises ConfigError when there is none."""
    project, store = options.opened(overrides, recipe=False)
    found = find_run(store.home, run_id)
    if found is None:
        raise ConfigError(
            f"there is no run {run_id or ''}".rstrip(),
            where=str(store.home / "runs"),
            do="cookhouse run recipe=... starts one; storage.root=... looks elsewhere",
        )
    return project, store, found


def known_steps(run: RunRecord, steps: Iterable[str]) -> None:
    """Raises ConfigError when one of ``steps`` is none of the run's."""
    known = [row["step"] for row in run.data["steps"]]
    for step in steps:
        if step not in known:
            raise no_such(f"run {run.run_id} has no step", step, known)


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
        alive = process.is_alive(run.data["driver"])
        steps = [row.as_json() for row in run_status(store, run).steps]
        about = {"run_id": run.run_id, "recipe": run.data["recipe"], "driver_alive": alive}
        click.echo(json.dumps({**about, "steps": steps}))
    elif watch:
        _watch(store, run)
    else:
        click.echo("\n".join(lines(store, run)))


def draw(project: Project, store: Store, run: RunRecord, page: Path) -> bool:
    """Write the timeline page; True while the run goes on."""
    found = run_status(store, run)
    text = render(found, mlflow_links(found, project.tracking_uri), str(page.parent.absolute()))
    page.parent.mkdir(parents=True, exist_ok=True)
    storage.put(page, text.encode())
    return found.state == "running"


def lines(store: Store, run: RunRecord) -> list[str]:
    """The table of ``status``: a head and a line a step."""
    found = run_status(store, run)
    ago, command = (time.time() - found.started) / 60, COMMAND[process.is_alive(run.data["driver"])]
    head = f"run {run.run_id}  recipe {found.recipe}  started {ago:.0f} min ago  command {command}"
    return [head, *(_line(row, found) for row in found.steps)]


def _line(row: StepStatus, run: RunStatus) -> str:
    about, last = [], row.last
    if last is not None:
        about = [
            f"{last.done}/{last.total} {last.unit}" if last.total is not None else "",
            f"attempt {last.number}" if last.number > 1 else "",
            f"{time.time() - last.heard:.0f} s ago" if last.heard and row.state == "running" else "",
        ]
    width = max(len(item.step) for item in run.steps)
    state = click.style(f"{row.state:<9}", fg=COLOURS.get(row.state, "bright_black"))
    text = "  ".join(part for part in (*about, row.note) if part)
    return f"{state}{row.step:<{width}}  {row.key[:12]}  {text}".rstrip()


def _watch(store: Store, run: RunRecord) -> None:
    """On a terminal the table in place, elsewhere a line whenever a step changes its state."""
    from rich.live import Live
    from rich.text import Text

    states: dict[str, str] = {}

    def tell() -> None:
        if live is not None:
            live.update(Text.from_ansi("\n".join(lines(store, run))), refresh=True)
            return
        found = run_status(store, run)
        for row in found.steps:
            if states.get(row.step) != row.state:
                states[row.step] = row.state
                click.echo(_line(row, found))

    live = Live(console=console(stderr=False), auto_refresh=False) if sys.stdout.isatty() else None
    with live or nullcontext():
        going = True
        while going:
            going = run.going  # before the look, so that the last one sees the end
            tell()
            time.sleep(WATCH_S if going else 0)


@click.command()
@click.argument("step")
@options.overrides
@click.option("-f", "--follow", is_flag=True, help="Go on until the step ends.")
@click.option("--attempt", type=int, metavar="N", help="An earlier attempt; default: the newest.")
@RUN
@options.verbose
def logs(step: str, overrides: tuple[str, ...], follow: bool, attempt: int | None, run_id: str | None) -> None:
    """Print what a step printed, in its newest attempt."""
    _, store, run = newest(overrides, run_id)
    known_steps(run, [step])
    trail: Trail | None = None
    while True:
        row = run_status(store, run)[step]
        attempts = dict(store.attempts(place(row.folder)))
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
        if not follow or row.state not in LIVELY:
            break
        time.sleep(FOLLOW_S)
    if trail is None:
        click.echo(f"step '{step}' has not been tried yet", err=True)
