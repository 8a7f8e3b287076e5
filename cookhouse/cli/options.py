"""Options that several commands share, each group as one record."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipelines.workflow.plan import Selection

overrides = click.argument("overrides", nargs=-1, metavar="[OVERRIDES]...")
words = click.argument("words", nargs=-1, metavar="[STEP]... [OVERRIDES]...")


@dataclass(frozen=True)
class Chosen:
    """What ``--limit --only --from --until --force ...`` said."""

    limit: int | None
    only: tuple[str, ...]
    start: tuple[str, ...]
    until: tuple[str, ...]
    force: tuple[str, ...]
    downstream: bool
    refresh: bool
    strict_code: bool

    def selection(self, targets: Sequence[str] = (), *, wait: bool = True) -> Selection:
        """For the planner; ``targets`` are steps named without an option."""
        from pipelines.workflow.plan import Selection

        return Selection(
            only=self.only,
            start=self.start,
            until=(*self.until, *targets),
            force=self.force,
            downstream=self.downstream,
            refresh=self.refresh,
            strict_code=self.strict_code,
            wait=wait,
        )

    def kept(self, targets: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
        """What a run record keeps of it, for ``resume``."""
        return {"only": self.only, "start": self.start, "until": (*self.until, *targets)}

    @classmethod
    def of(cls, limit: int | None, only: Sequence[str], start: Sequence[str], until: Sequence[str]) -> Chosen:
        """What a run record kept; nothing is forced or refreshed a second time."""
        return cls(limit, tuple(only), tuple(start), tuple(until), (), False, False, False)

    def again(self) -> list[str]:
        """The options to type for the same steps, without those that make existing ones anew."""
        found = [] if self.limit is None else ["--limit", str(self.limit)]
        for option, names in (("--only", self.only), ("--from", self.start), ("--until", self.until)):
            found += [word for name in names for word in (option, name)]
        return found


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


def verbose(function: Callable[..., Any]) -> Callable[..., Any]:
    """``-v``: print tracebacks (the handler looks for it, the command need not)."""
    return click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Print tracebacks.")(function)


def selection(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command a ``chosen``."""
    return _grouped(
        function,
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


def manner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command a ``manner``."""
    return _grouped(
        function,
        "manner",
        Manner,
        click.option("--backend", type=click.Choice(["ray", "inprocess"]), help="Where steps run; default: cluster's."),
        click.option(
            "--max-parallel", type=click.IntRange(min=1), help="Most steps at the same time; default: as the CPUs go."
        ),
        click.option("--keep-going", is_flag=True, help="After a failure go on with what does not depend on it."),
        click.option(
            "--no-wait",
            "wait",
            is_flag=True,
            flag_value=False,
            default=True,
            help="Exit 5 if another run makes a step.",
        ),
        click.option("--keep-ray", is_flag=True, help="Leave the local Ray running for the next command."),
        click.option("-y", "--yes", is_flag=True, help="Start although the disk may not hold what is expected."),
        click.option("-q", "--quiet", is_flag=True, help="No progress, only the end."),
        click.option("-v", "--verbose", is_flag=True, help="Print tracebacks."),
    )


def _grouped(
    function: Callable[..., Any], name: str, record: type[Any], *added: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        values = {field.name: given.pop(field.name) for field in fields(record)}
        return function(*args, **given, **{name: record(**values)})

    for option in reversed(added):
        call = option(call)
    return call
