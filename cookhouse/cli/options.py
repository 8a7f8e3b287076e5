"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

overrides = click.argument("overrides", nargs=-1, metavar="[OVERRIDES]...")


def verbose(function: Callable[..., Any]) -> Callable[..., Any]:
    """``-v``: print tracebacks (the handler looks for it, the command need not)."""
    return click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Print tracebacks.")(function)


def selection(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--limit --only --until --force``, as ``plan`` and ``run`` take them."""
    for option in (
        click.option("--force", multiple=True, metavar="STEP", help="Make this step again although it exists."),
        click.option("--until", multiple=True, metavar="STEP", help="This step and what it needs, nothing after."),
        click.option("--only", multiple=True, metavar="STEP", help="Only this step; its inputs must exist."),
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="First try: only the first N inputs."),
    ):
        function = option(function)
    return function
