"""``cookhouse sweep``: many combinations of overrides, planned as one, so that shared steps are made once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cookhouse.cli import options
from cookhouse.cli.closing import count, differ, print_changes, print_failures, print_next
from cookhouse.cli.failures import INTERRUPTED, STATE, say
from cookhouse.cli.running import (
    exit_code,
    interruptible,
    make_backend,
    refuse_blocked,
    refuse_full_disk,
    rules,
    start_mirror,
)

if TYPE_CHECKING:
    from cookhouse.project import Project
    from pipelines.core.events import EventWriter
    from pipelines.workflow.plan import Plan
    from pipelines.workflow.runner import StepResult
    from pipelines.workflow.store import Store
    from pipelines.workflow.sweep import Union

MIRROR_WAIT_S = 15.0


@dataclass(frozen=True)
class Sweep:
    """A sweep before it runs. ``combinations`` are whole lists of overrides, ``varied`` the names that differ."""

    name: str
    combinations: Sequence[tuple[str, ...]]
    varied: tuple[str, ...]

    def differs(self, index: int) -> list[str]:
        """The overrides of one combination that others do not share."""
        return [text for text in self.combinations[index] if text.partition("=")[0] in self.varied]


@click.command()
@options.overrides
@click.option("--each", multiple=True, metavar='"A=1 B=2"', help="One combination; give it several times for a list.")
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="Combinations from a file, one a line.")
@click.option("--resume", "known", metavar="ID", help="Go on with a sweep by its id.")
@click.option("--dry-run", is_flag=True, help="Only show the plan of the union.")
@options.selection
@options.manner
def sweep(
    overrides: tuple[str, ...],
    each: tuple[str, ...],
    file: Path | None,
    known: str | None,
    dry_run: bool,
    chosen: options.Chosen,
    manner: options.Manner,
) -> int:
    """Run every combination of values: steps.sft.seed=1,2,3 steps.sft.lr=1e-3,1e-4 make six.

    The grammar is Hydra's (a,b  range(1,4)  choice(a,b)). Shared steps are made once; a failed combination does not stop
    the others; the same command again goes on with what is missing.
    """
    started = time.monotonic()
    from cookhouse.cli.precision import warn_of_emulation
    from cookhouse.cli.view import alive
    from cookhouse.project import load_project
    from pipelines.workflow.plan import make_plan
    from pipelines.workflow.survey import survey
    from pipelines.workflow.sweep import unite

    about, chosen = _about(overrides, each, file, known, chosen)
    projects = [load_project(item) for item in about.combinations]
    project, store = projects[0], projects[0].store
    STATE["root"] = store.home
    with interruptible():
        with alive("planning", store.cache.told):
            union = unite([item.keyed(store, chosen.limit) for item in projects])
            selection = _spread(chosen, union).selection(wait=manner.wait)
            plan = make_plan(union.steps, survey(store, union.steps), selection)
        warn_of_emulation(project, [step.keyed.step for step in plan.work])
        if dry_run:
            return _show(plan, union, about, store)
        refuse_blocked(plan)
        refuse_full_disk(plan, store, manner)
        results = _run(project, store, plan, union, about, chosen, manner)
    _report(results, union, about, time.monotonic() - started)
    print_changes(results)
    print_failures(results, manner.verbose)
    where = [text for text in project.composed.overrides if text.startswith(("storage", "tracking.uri"))]
    commands = [(["ui", *where], "compare the combinations in MLflow")] if project.tracking.enabled else []
    code = exit_code(results)
    if code:
        commands = [(["sweep", "--resume", about.name, *where], "go on with what is missing")]
    print_next([*commands, (["status", *where], "how the last combination stands (--run ID for another)")])
    return code


def _about(
    overrides: tuple[str, ...], each: tuple[str, ...], file: Path | None, known: str | None, chosen: options.Chosen
) -> tuple[Sweep, options.Chosen]:
    """The combinations, expanded or as an earlier command wrote them down."""
    from cookhouse.project import load_project
    from pipelines.core.errors import ConfigError
    from pipelines.core.secrets import redact
    from pipelines.workflow.combinations import combine, varied
    from pipelines.workflow.sweep import read_manifest, sweep_id, write_manifest

    if known is not None:
        home = load_project(overrides, recipe=False).store.home
        manifest = read_manifest(home, known)
        if manifest is None:
            raise ConfigError(f"there is no sweep '{known}'", where=str(home / "sweeps"), do="leave out --resume")
        rows = [(*item, *overrides) for item in manifest["combinations"]]
        return Sweep(known, rows, varied(rows)), options.Chosen.of(manifest["limit"], **manifest["selection"])
    found, names = combine(overrides, each, file)
    if len(found) < 2:
        raise ConfigError(
            "there is one combination only", do="give several values: steps.<name>.<field>=1,2 (or use cookhouse run)"
        )
    home, recipe = (one := load_project(found[0])).store.home, one.recipe
    options_kept = {"limit": chosen.limit, "selection": chosen.kept()}
    shown = [[redact(text) for text in item] for item in found]
    name = sweep_id(recipe, shown, options_kept)
    if not write_manifest(home, name, {"combinations": shown, "varied": names, **options_kept}):
        say(f"sweep {name} is known: what it made is reused")
    return Sweep(name, found, names), chosen


def _spread(chosen: options.Chosen, union: Union) -> options.Chosen:
    """Step names of the recipe as the nodes of the union."""
    from dataclasses import replace

    def nodes(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(node for name in names for node in union.named(name))

    return replace(
        chosen,
        only=nodes(chosen.only),
        start=nodes(chosen.start),
        until=nodes(chosen.until),
        force=nodes(chosen.force),
    )


def _show(plan: Plan, union: Union, about: Sweep, store: Store) -> int:
    from cookhouse.cli.planning import conclusion, render
    from pipelines.workflow.estimate import estimate

    costs = estimate(plan)
    click.echo("\n".join([*render(plan, costs), *conclusion(plan, costs, store.root)]))
    steps = sum(len(nodes) for nodes in union.nodes)
    click.echo(f"{len(about.combinations)} combinations, {steps} steps, {len(union.steps)} different ones")
    return 0


class Spread:
    """Writes what happens to a node into the events of every combination that has it, under its name there."""

    def __init__(self, writers: Sequence[EventWriter], nodes: Sequence[Mapping[str, str]]) -> None:
        self.writers = writers
        self.names = [{node: name for name, node in item.items()} for item in nodes]

    def emit(self, kind: str, **fields: Any) -> None:
        for writer, names in zip(self.writers, self.names, strict=True):
            if "step" not in fields:
                writer.emit(kind, **fields)
            elif fields["step"] in names:
                writer.emit(kind, **{**fields, "step": names[fields["step"]]})

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


def _run(
    project: Project,
    store: Store,
    plan: Plan,
    union: Union,
    about: Sweep,
    chosen: options.Chosen,
    manner: options.Manner,
) -> dict[str, StepResult]:
    from dataclasses import replace

    from cookhouse.cli.costs import seconds_of
    from cookhouse.cli.view import RunView
    from pipelines.core.secrets import redact
    from pipelines.workflow.estimate import estimate
    from pipelines.workflow.runner import Runner
    from pipelines.workflow.runs import create_run
    from pipelines.workflow.sweep import part

    backend = manner.backend or project.cluster.backend
    shown = [[redact(text) for text in item] for item in about.combinations]
    records = [
        create_run(
            store.home,
            part(plan, nodes),
            recipe=project.recipe,
            overrides=item,
            backend=backend,
            limit=chosen.limit,
            selection=chosen.kept(),
            sweep=about.name,
        )
        for item, nodes in zip(shown, union.nodes, strict=True)
    ]
    mirror = start_mirror(project, store, [record.run_id for record in records])
    if not manner.quiet:
        todo = f"{len(plan.work)} of {len(plan.steps)} steps to make"
        say(f"sweep {about.name}  {len(records)} combinations  {todo}  in {store.root}")
    spread = Spread([record.events() for record in records], union.nodes)
    results: dict[str, StepResult] = {}
    stopped = False
    names, expected = [step.name for step in plan.steps], seconds_of(estimate(plan))
    with RunView(spread, names, expected=expected, quiet=manner.quiet) as view:
        for index, (record, writer) in enumerate(zip(records, spread.writers, strict=True)):
            told = {"id": about.name, "index": index, "of": len(records), "varied": about.differs(index)}
            writer.emit("run_started", recipe=project.recipe, overrides=shown[index], run_id=record.run_id, sweep=told)
        runner = Runner(
            store,
            plan,
            make_backend(project, store, backend, keep=manner.keep_ray),
            view,
            run_id=records[0].run_id,
            rules=rules(project, replace(manner, keep_going=True)),
            asked_to_stop=records[0].asked_to_stop,
            differ=differ,
        )
        try:
            results = runner.run()
        except KeyboardInterrupt:
            stopped = True
            say("stopped: the same command goes on from what was committed")
            raise click.exceptions.Exit(INTERRUPTED) from None
        finally:
            for writer, nodes in zip(spread.writers, union.nodes, strict=True):
                writer.emit("run_finished", status="killed" if stopped else _state(results, nodes))
            if mirror is not None:
                with contextlib.suppress(Exception):
                    mirror.close(MIRROR_WAIT_S)
    return results


def _state(results: Mapping[str, StepResult], nodes: Mapping[str, str]) -> str:
    """``ok`` or ``failed``: one combination."""
    found = [results[node].status for node in nodes.values() if node in results]
    return "ok" if found and all(status in ("ok", "hit") for status in found) else "failed"


def _report(results: Mapping[str, StepResult], union: Union, about: Sweep, wall_s: float) -> None:
    """A line a combination: what differs, how it ended, the main metrics of the steps nobody reads."""
    from rich.table import Table

    from cookhouse.cli.view import console
    from pipelines.tracking.describe import main_metric

    read = {parent for item in union.steps for parent in item.step.parents}
    table = Table(box=None, pad_edge=False)
    for name in ("#", "combination", "state", "result"):
        table.add_column(name, no_wrap=name != "combination")
    for index, nodes in enumerate(union.nodes):
        ends = [(name, results[node]) for name, node in nodes.items() if node in results and node not in read]
        shown = [
            f"{name}: {main_metric(end.record.stats) or count(end.record.stats)}"
            for name, end in ends
            if end.record is not None
        ]
        table.add_row(str(index + 1), " ".join(about.differs(index)), _state(results, nodes), "  ".join(shown))
    out = console(stderr=False)
    out.print(table)
    made = sum(result.status == "ok" for result in results.values())
    steps = sum(len(nodes) for nodes in union.nodes)
    out.print(f"\n{made} steps made for {steps} of {len(union.nodes)} combinations, in {wall_s:.1f} s")
