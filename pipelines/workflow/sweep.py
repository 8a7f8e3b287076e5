"""A sweep: overrides in Hydra's own sweep grammar as plain combinations, and their plans as one, so that what they share
is made once. Pure.

a=1,2 b=choice(x,y)        -> a=1 b=x | a=1 b=y | a=2 b=x | a=2 b=y
a=range(1,4)               -> a=1 | a=2 | a=3

    combination 1: corpus -> documents -> sft        nodes: corpus, documents, sft.1, sft.2
    combination 2: corpus -> documents -> sft (lr 2x)
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pipelines.core.errors import ConfigError, first_line
from pipelines.workflow.compose import COMMAND_LINE
from pipelines.workflow.plan import KeyedStep, Plan

Combination = tuple[str, ...]


@dataclass(frozen=True)
class Union:
    """``steps`` in topological order, each key once; ``nodes`` says for every combination under which name of the union
    each of its steps goes."""

    steps: tuple[KeyedStep, ...]
    nodes: tuple[Mapping[str, str], ...]

    def named(self, name: str) -> tuple[str, ...]:
        """The nodes of a step of the recipe; the name itself when there is none, for an error message."""
        return tuple(dict.fromkeys(nodes[name] for nodes in self.nodes if name in nodes)) or (name,)


def unite(combinations: Sequence[Sequence[KeyedStep]]) -> Union:
    """Every key once. A step whose key differs among combinations becomes ``sft.1``, ``sft.2`` ... in their order."""
    keys: dict[str, dict[str, int]] = {}
    for item in itertools.chain.from_iterable(combinations):
        known = keys.setdefault(item.step.name, {})
        known.setdefault(item.key, len(known) + 1)
    united: dict[str, KeyedStep] = {}
    nodes: list[dict[str, str]] = []
    for steps in combinations:
        mine: dict[str, str] = {}
        for item in steps:
            name, known = item.step.name, keys[item.step.name]
            mine[name] = name if len(known) == 1 else f"{name}.{known[item.key]}"
            if mine[name] not in united:
                inputs = {port: tuple(mine[parent] for parent in names) for port, names in item.step.inputs.items()}
                united[mine[name]] = replace(item, step=replace(item.step, name=mine[name], label=name, inputs=inputs))
        nodes.append(mine)
    return Union(tuple(united.values()), tuple(nodes))


def part(plan: Plan, nodes: Mapping[str, str]) -> Plan:
    back = {node: name for name, node in nodes.items()}
    kept = {planned.name: planned for planned in plan.steps}
    steps = []
    for planned in (kept[node] for node in nodes.values() if node in kept):
        step = planned.keyed.step
        inputs = {port: tuple(back[parent] for parent in parents) for port, parents in step.inputs.items()}
        own = replace(planned.keyed, step=replace(step, name=back[step.name], label="", inputs=inputs))
        steps.append(replace(planned, keyed=own))
    return Plan(tuple(steps))


def sweep_id(recipe: str, combinations: Sequence[Sequence[str]], options: Mapping[str, Any]) -> str:
    """The same for the same combinations, so that the same command goes on with the same sweep."""
    text = json.dumps([[list(item) for item in combinations], options], sort_keys=True)
    return f"{recipe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


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
            why = first_line(error) if str(error) else type(error).__name__
            do = "write name=a,b or name=range(1,4) or name=choice(a,b)"
            raise ConfigError(f"'{text}' is no sweep", where=where, why=why, do=do) from error
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
    tables = [dict(text.partition("=")[::2] for text in item) for item in combinations]
    names = dict.fromkeys(name for table in tables for name in table)
    return tuple(name for name in names if len({table.get(name) for table in tables}) > 1)
