"""``cookhouse plan``: decisions with reasons, what they will cost, and nothing started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import click

from cookhouse.cli import options
from cookhouse.cli.costs import conclusion, wants, words_of
from cookhouse.cli.precision import warn_of_emulation
from cookhouse.cli.view import alive
from cookhouse.project import Project
from pipelines.workflow.estimate import Estimate, estimate
from pipelines.workflow.plan import Plan, Selection
from pipelines.workflow.store import Store

COLOURS = {"HIT": "green", "RUN": "yellow", "ADOPT": "cyan", "BLOCKED": "red", "DRIFT": "magenta", "STALE": "magenta"}
SHADES = {
    "HIT": "fill:#d9efdd,stroke:#2f7d46",
    "RUN": "fill:#fdf0c9,stroke:#a77400",
    "ADOPT": "fill:#d6edf7,stroke:#1d6f92",
    "BLOCKED": "fill:#f9d9d6,stroke:#ab2f26",
    "DRIFT": "fill:#eadcf5,stroke:#74459a",
    "STALE": "fill:#eadcf5,stroke:#74459a",
}


@click.command()
@options.words
@options.selection
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option("--graph", type=click.Choice(["mermaid"]), help="Print the plan as a graph.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 3 when there is work to do, 0 when there is none.")
@options.verbose
def plan(words: tuple[str, ...], chosen: Selection, as_json: bool, graph: str | None, detailed_exitcode: bool) -> int:
    """Show what would run, why and at what cost; nothing is started.

    STEPs are the targets: those and what they need (as --until). HIT reuses a result, RUN makes it, ADOPT goes on from
    finished units, BLOCKED cannot be made now. DRIFT and STALE reuse a result and say what changed around it.
    """
    targets, overrides = options.targets_and_overrides(words)
    project, store = options.opened(overrides, recipe=True)
    with alive("planning", store.cache.told):
        made = project.plan(store, replace(chosen, until=(*chosen.until, *targets), wait=True))
    if as_json:
        costs = {name: vars(cost) for name, cost in estimate(made).items()}
        steps = [{**step.as_json(), "estimate": costs.get(step.name)} for step in made.steps]
        about = {"recipe": project.recipe, "root": str(store.root), "left_out": list(project.left_out)}
        click.echo(json.dumps({**about, "steps": steps}))
    elif graph:
        click.echo("\n".join(mermaid(made)))
    else:
        print_plan(project, made, store)
    warn_of_emulation(project, [step.keyed.step for step in made.work])
    return 3 if detailed_exitcode and made.work else 0


def print_plan(project: Project, made: Plan, store: Store) -> None:
    """Every step with reasons and cost, what is left out, and the sum."""
    costs = estimate(made)
    click.echo("\n".join([*render(made, costs), *left_out(project), *conclusion(made, costs, store.root)]))


def render(made: Plan, estimates: Mapping[str, Estimate]) -> list[str]:
    """One line a step and one a reason."""
    width = max(len(step.name) for step in made.steps)
    lines = []
    for step in made.steps:
        decision = click.style(f"{step.decision:<8}", fg=COLOURS[step.decision])
        cost = f"  {words_of(estimates[step.name])}, {wants(step)}" if step.name in estimates else ""
        lines.append(f"{decision}{step.name:<{width}}  {step.key[:12]}{cost}")
        lines += [f"{'':8}{'':{width}}  {reason}" for reason in step.reasons[:8]]
        if len(step.reasons) > 8:
            lines.append(f"{'':8}{'':{width}}  and {len(step.reasons) - 8} more (--json)")
    return lines


def left_out(project: Project) -> list[str]:
    """A line for each step that was given no source while another one was."""
    return [f"left out: {name} ({value}=... brings it in)" for name, value in project.left_out.items()]


def mermaid(made: Plan) -> list[str]:
    """The plan as a Mermaid flowchart, steps coloured by decision."""
    lines = ["flowchart LR"]
    for step in made.steps:
        lines.append(f'  {step.name}["{step.name}<br/>{step.decision} {step.key[:12]}"]:::{step.decision}')
    shown = {item.name for item in made.steps}
    for step in made.steps:
        lines += [f"  {parent} --> {step.name}" for parent in step.keyed.step.parents if parent in shown]
    used = dict.fromkeys(str(step.decision) for step in made.steps)
    return lines + [f"  classDef {name} {SHADES[name]},color:#1b1b1b" for name in used]
