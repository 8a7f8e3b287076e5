"""A sweep's overrides, written in Hydra's own sweep grammar, as plain combinations.

a=1,2 b=choice(x,y)        -> a=1 b=x | a=1 b=y | a=2 b=x | a=2 b=y
a=range(1,4)               -> a=1 | a=2 | a=3
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pipelines.core.errors import ConfigError
from pipelines.workflow.compose import COMMAND_LINE

Combination = tuple[str, ...]


def expand(overrides: Sequence[str], where: str = COMMAND_LINE) -> list[Combination]:
    """The grid over some overrides: every combination of their values, in the order they were written. Raises
    ConfigError for what cannot be read."""
    choices = []
    for text in overrides:
        try:
            (item,) = OverridesParser.create().parse_overrides([text])
            if item.is_sweep_override():
                name = item.get_key_element()
                choices.append([f"{name}={value}" for value in item.sweep_string_iterator()])
            else:
                choices.append([text])
        except (HydraException, NotImplementedError) as error:
            raise ConfigError(
                f"'{text}' is no sweep",
                where=where,
                why=str(error).splitlines()[0] if str(error) else type(error).__name__,
                do="write name=a,b or name=range(1,4) or name=choice(a,b)",
            ) from error
    return list(itertools.product(*choices))


def combine(
    overrides: Sequence[str], each: Sequence[str] = (), file: Path | None = None
) -> tuple[list[Combination], tuple[str, ...]]:
    """(all combinations without repetition, the names whose values differ among them).

    ``overrides`` is a grid. ``each`` are combinations in one text (``"a=1 b=2"``), ``file`` holds one a line (``#``
    begins a comment); every one of them is combined with the grid.
    """
    rows = [expand(shlex.split(text)) for text in each]
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigError(f"{file} cannot be read", where="--file", why=str(error.strerror)) from None
        for number, line in enumerate(lines, 1):
            if words := shlex.split(line, comments=True):
                rows.append(expand(words, f"{file}:{number}"))
    listed = list(itertools.chain.from_iterable(rows)) if rows else [()]
    grid = expand(overrides)
    found = list(dict.fromkeys((*common, *own) for own in listed for common in grid))
    return found, varied(found)


def varied(combinations: Sequence[Combination]) -> tuple[str, ...]:
    """Names that do not have one value in all combinations."""
    values: dict[str, set[str | None]] = {}
    tables = [dict(text.partition("=")[::2] for text in item) for item in combinations]
    for name in dict.fromkeys(name for table in tables for name in table):
        values[name] = {table.get(name) for table in tables}
    return tuple(name for name, found in values.items() if len(found) > 1)
