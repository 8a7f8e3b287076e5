"""Many plans as one: the union of the steps of all combinations, so that what they share is made once.

    combination 1: corpus -> documents -> sft        nodes: corpus, documents, sft.1, sft.2
    combination 2: corpus -> documents -> sft (lr 2x)

Pure, but for the manifest ``{home}/sweeps/{id}.json``, which says what the sweep set out to do; how it stands is derived
from the store, as for a run.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.workflow.files import create_json, read_json
from pipelines.workflow.plan import KeyedStep, Plan


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
    keys: dict[str, list[str]] = {}
    for steps in combinations:
        for item in steps:
            known = keys.setdefault(item.step.name, [])
            if item.key not in known:
                known.append(item.key)
    united: dict[str, KeyedStep] = {}
    nodes: list[dict[str, str]] = []
    for steps in combinations:
        mine: dict[str, str] = {}
        for item in steps:
            name, known = item.step.name, keys[item.step.name]
            mine[name] = name if len(known) == 1 else f"{name}.{known.index(item.key) + 1}"
            if mine[name] not in united:
                inputs = {port: tuple(mine[parent] for parent in names) for port, names in item.step.inputs.items()}
                united[mine[name]] = replace(item, step=replace(item.step, name=mine[name], label=name, inputs=inputs))
        nodes.append(mine)
    return Union(tuple(united.values()), tuple(nodes))


def part(plan: Plan, nodes: Mapping[str, str]) -> Plan:
    """The plan of one combination, under the names of its recipe."""
    back = {node: name for name, node in nodes.items()}
    kept = {step.name for step in plan.steps}
    steps = []
    for name, node in nodes.items():
        if node in kept:
            planned = plan[node]
            step = planned.keyed.step
            inputs = {port: tuple(back[parent] for parent in parents) for port, parents in step.inputs.items()}
            own = replace(planned.keyed, step=replace(step, name=name, label="", inputs=inputs))
            steps.append(replace(planned, keyed=own))
    return Plan(tuple(steps))


def sweep_id(recipe: str, combinations: Sequence[Sequence[str]], options: Mapping[str, Any]) -> str:
    """The same for the same combinations, so that the same command goes on with the same sweep."""
    text = json.dumps([[list(item) for item in combinations], options], sort_keys=True)
    return f"{recipe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def write_manifest(home: Path, name: str, about: Mapping[str, Any]) -> bool:
    """Write down what a sweep set out to do; False when it is known already."""
    return create_json(home / "sweeps" / f"{name}.json", {"sweep": name, "created": round(time.time(), 3), **about})


def read_manifest(home: Path, name: str) -> dict[str, Any] | None:
    """What a sweep set out to do, None when there is no such sweep."""
    return read_json(home / "sweeps" / f"{name}.json")
