"""``cookhouse plan``: decisions with reasons, and nothing started."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from cookhouse.cli import options

if TYPE_CHECKING:
    from pipelines.workflow.plan import Plan

COLOURS = {"HIT": "green", "RUN": "yellow", "ADOPT": "cyan", "BLOCKED": "red", "DRIFT": "magenta", "STALE": "magenta"}


@click.command()
@options.overrides
@options.selection
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 3 when there is work to do, 0 when there is none.")
@options.verbose
def plan(
    overrides: tuple[str, ...],
    limit: int | None,
    only: tuple[str, ...],
    until: tuple[str, ...],
    force: tuple[str, ...],
    as_json: bool,
    detailed_exitcode: bool,
) -> int:
    """Show what would run and why; nothing is started.

    HIT reuses a result, RUN makes it, ADOPT goes on from finished units, BLOCKED cannot be made now. DRIFT and STALE
    reuse a result and say what changed around it.
    """
    from cookhouse.cli.failures import STATE
    from cookhouse.project import load_project
    from pipelines.workflow.plan import Selection

    project = load_project(overrides)
    store = project.store
    STATE["root"] = store.home
    made = project.plan(store, limit=limit, selection=Selection(only=only, until=until, force=force))
    if as_json:
        click.echo(
            json.dumps({"recipe": project.recipe, "root": str(store.root), "steps": [s.as_json() for s in made.steps]})
        )
    else:
        click.echo("\n".join(render(made)))
        click.echo(conclusion(made))
    return 3 if detailed_exitcode and made.work else 0


def render(made: Plan) -> list[str]:
    """One line a step and one a reason."""
    width = max(len(step.name) for step in made.steps)
    lines = []
    for step in made.steps:
        decision = click.style(f"{step.decision:<8}", fg=COLOURS[step.decision])
        estimate = step.as_json()["estimate"]
        about = f"  (last time {estimate['seconds']:.0f} s, {estimate['bytes'] / 1e6:.1f} MB)" if estimate else ""
        lines.append(f"{decision}{step.name:<{width}}  {step.key[:12]}{about}")
        lines += [f"{'':8}{'':{width}}  {reason}" for reason in step.reasons[:8]]
        if len(step.reasons) > 8:
            lines.append(f"{'':8}{'':{width}}  and {len(step.reasons) - 8} more (--json)")
    return lines


def conclusion(made: Plan) -> str:
    """The last line: how much there is to do."""
    if made.blocked:
        return f"{len(made.blocked)} of {len(made.steps)} steps are blocked"
    if not made.work:
        return f"nothing to do: all {len(made.steps)} steps exist"
    return f"{len(made.work)} of {len(made.steps)} steps to make"
