"""Options that several commands share, each group as one record."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cookhouse.project import Project
    from pipelines.workflow.plan import Selection
    from pipelines.workflow.store import Store

overrides = click.argument("overrides", nargs=-1, metavar="[OVERRIDES]...")
words = click.argument("words", nargs=-1, metavar="[STEP]... [OVERRIDES]...")
verbose = click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Print tracebacks.")
"""The handler of failures looks for it, the command need not."""


@dataclass(frozen=True)
class Chosen:
    """What ``--limit --only --from --until --force ...`` said."""

    limit: int | None = None
    only: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    downstream: bool = False
    refresh: bool = False
    strict_code: bool = False

    def selection(self, *, wait: bool = True) -> Selection:
        """For the planner."""
        from pipelines.workflow.plan import Selection

        return Selection(**{name: value for name, value in vars(self).items() if name != "limit"}, wait=wait)

    def targets(self, names: Sequence[str]) -> Chosen:
        """With steps named without an option."""
        return replace(self, until=(*self.until, *names))

    @property
    def kept(self) -> dict[str, tuple[str, ...]]:
        """What a run record keeps of it, for ``resume``: nothing is forced or refreshed a second time."""
        return {"only": self.only, "start": self.start, "until": self.until}

    @classmethod
    def again(cls, limit: int | None, kept: Mapping[str, Sequence[str]]) -> Chosen:
        """What a run record kept."""
        only, start, until = (tuple(kept.get(name, ())) for name in ("only", "start", "until"))
        return cls(limit, only, start, until)

    def typed(self, overrides: Sequence[str]) -> list[str]:
        """The words to type for the same steps, without the options that make existing ones anew."""
        options = ["--limit", str(self.limit)] if self.limit is not None else []
        for option, names in (("--only", self.only), ("--from", self.start)):
            options += [word for name in names for word in (option, name)]
        return [*self.until, *overrides, *options]


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
    from cookhouse.cli.failures import STATE
    from cookhouse.project import load_project

    wanted = any(text.startswith("recipe=") for text in overrides) if recipe is None else recipe
    kept = [text for text in overrides if wanted or not text.startswith(("recipe=", "steps."))]
    project = load_project(kept, recipe=wanted)
    STATE["root"] = project.store.home
    return project, project.store


def _grouped(name: str, record: type[Any], *added: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command some options as one record under ``name``."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            values = {field.name: given.pop(field.name) for field in fields(record)}
            return function(*args, **given, **{name: record(**values)})

        for option in reversed(added):
            call = option(call)
        return call

    return decorate


selection = _grouped(
    "chosen",
    Chosen,
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
