"""Options that several commands share, each group as one record."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from cookhouse.cli.failures import STATE
from cookhouse.project import Project, load_project
from pipelines.workflow.plan import Selection
from pipelines.workflow.store import Store

overrides = click.argument("overrides", nargs=-1, metavar="[OVERRIDES]...")
words = click.argument("words", nargs=-1, metavar="[STEP]... [OVERRIDES]...")
verbose = click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Print tracebacks.")
"""The handler of failures looks for it, the command need not."""


@dataclass(frozen=True)
class Manner:
    """How a run goes about its work: ``--backend --max-parallel --keep-going --no-wait --keep-ray --yes -q -v``."""

    backend: str | None
    max_parallel: int | None
    keep_going: bool
    wait: bool
    keep_ray: bool
    yes: bool
    quiet: bool
    verbose: bool


def targets_and_overrides(given: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Trailing arguments apart: bare words are steps, the rest (``name=value``, ``~name``) overrides."""
    targets = tuple(word for word in given if "=" not in word and not word.startswith("~"))
    return targets, tuple(word for word in given if word not in targets)


def opened(overrides: Sequence[str], *, recipe: bool | None = None) -> tuple[Project, Store]:
    """What a command works on. ``recipe``: whether the steps are looked at (default: if a recipe is named), or what
    overrides say of them is passed over."""
    wanted = any(text.startswith("recipe=") for text in overrides) if recipe is None else recipe
    kept = [text for text in overrides if wanted or not text.startswith(("recipe=", "steps."))]
    project = load_project(kept, recipe=wanted)
    STATE["root"] = project.store.home
    return project, project.store


def _grouped(name: str, make: Callable[..., Any], fields: Iterable[str], *added: Callable[..., Any]) -> Any:
    """Gives a command some options as one record under ``name``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            values = {field: given.pop(field) for field in fields}
            return function(*args, **given, **{name: make(**values)})

        for option in reversed(added):
            call = option(call)
        return call

    return decorate


selection = _grouped(
    "chosen",
    Selection,
    ("limit", "only", "start", "until", "force", "downstream", "refresh", "strict_code"),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="First try: only the first N inputs."),
    click.option("--only", multiple=True, metavar="STEP", help="Only this step; its inputs must exist."),
    click.option("--from", "start", multiple=True, metavar="STEP", help="This step and all that follows it."),
    click.option("--until", multiple=True, metavar="STEP", help="This step and what it needs, nothing after."),
    click.option("--force", multiple=True, metavar="STEP", help="Make this step again although it exists."),
    click.option("--force-downstream", "downstream", is_flag=True, help="With --force: all that follows it too."),
    click.option("--refresh", is_flag=True, help="Make STALE steps again."),
    click.option("--strict-code", is_flag=True, help="Make steps with DRIFT again."),
)
manner = _grouped(
    "manner",
    Manner,
    tuple(Manner.__annotations__),
    click.option("--backend", type=click.Choice(["ray", "inprocess"]), help="Where steps run; default: cluster's."),
    click.option("--max-parallel", type=click.IntRange(min=1), help="Most steps at a time; default: as the CPUs go."),
    click.option("--keep-going", is_flag=True, help="After a failure go on with what does not depend on it."),
    click.option(
        "--no-wait", "wait", is_flag=True, flag_value=False, default=True, help="Exit 5 if another run makes a step."
    ),
    click.option("--keep-ray", is_flag=True, help="Leave the local Ray running for the next command."),
    click.option("-y", "--yes", is_flag=True, help="Start although the disk may not hold what is expected."),
    click.option("-q", "--quiet", is_flag=True, help="No progress, only the end."),
    click.option("-v", "--verbose", is_flag=True, help="Print tracebacks."),
)
