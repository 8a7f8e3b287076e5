"""What would run, and why. Pure: keys and what the store holds go in, decisions with reasons come out.

``HIT`` reuse it · ``RUN`` make it · ``ADOPT`` make it, going on from finished units · ``BLOCKED`` cannot be made now ·
``DRIFT`` reuse it, but the stage's source changed under the same ``code_version`` · ``STALE`` reuse it, but an input
was rebuilt with other bytes since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigError, did_you_mean
from pipelines.workflow.keys import SHORT, Document, difference, key_document, key_of
from pipelines.workflow.probe import HashCache, Probed, probe_step
from pipelines.workflow.recipe import Origin, Step
from pipelines.workflow.store import Record


class Decision(StrEnum):
    HIT = "HIT"
    RUN = "RUN"
    ADOPT = "ADOPT"
    BLOCKED = "BLOCKED"
    DRIFT = "DRIFT"
    STALE = "STALE"


@dataclass(frozen=True)
class KeyedStep:
    """A step with its identity, and what the probe found for it."""

    step: Step
    probed: Probed
    document: Document
    key: str


@dataclass(frozen=True)
class Facts:
    """What the store says about one key. ``nearest`` are committed results of the same stage with other keys;
    ``units`` is how many finished units a new attempt would adopt; ``holder`` the live lease, if any."""

    folder: Path
    record: Record | None = None
    units: int = 0
    nearest: tuple[Record, ...] = ()
    holder: Mapping[str, Any] | None = None
    source_hash: str = ""


@dataclass(frozen=True)
class Selection:
    """What a person asked for: only these steps, nothing after these steps, these again although they exist."""

    only: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    force: tuple[str, ...] = ()


EVERYTHING = Selection()


@dataclass(frozen=True)
class PlannedStep:
    """One line of a plan. ``generation`` is the one that would be made (or is reused)."""

    keyed: KeyedStep
    decision: Decision
    reasons: tuple[str, ...]
    facts: Facts
    generation: int
    units: int = 0

    @property
    def name(self) -> str:
        return self.keyed.step.name

    @property
    def key(self) -> str:
        return self.keyed.key

    @property
    def works(self) -> bool:
        """True when running the plan makes something here."""
        return self.decision in (Decision.RUN, Decision.ADOPT)

    def as_json(self) -> dict[str, Any]:
        """Stable JSON for ``plan --json`` and the run record."""
        estimate = self.facts.nearest[0] if self.works and self.facts.nearest else None
        return {
            "step": self.name,
            "stage": self.keyed.step.definition.name,
            "key": self.key,
            "decision": str(self.decision),
            "reasons": list(self.reasons),
            "generation": self.generation,
            "units_to_adopt": self.units,
            "inputs": {port: list(names) for port, names in self.keyed.step.inputs.items()},
            "folder": str(self.facts.folder),
            "estimate": {"seconds": estimate.data["seconds"], "bytes": estimate.data["bytes"]} if estimate else None,
        }


@dataclass(frozen=True)
class Plan:
    steps: tuple[PlannedStep, ...]

    def __getitem__(self, name: str) -> PlannedStep:
        return next(step for step in self.steps if step.name == name)

    @property
    def work(self) -> tuple[PlannedStep, ...]:
        return tuple(step for step in self.steps if step.works)

    @property
    def blocked(self) -> tuple[PlannedStep, ...]:
        return tuple(step for step in self.steps if step.decision is Decision.BLOCKED)


def key_steps(steps: Sequence[Step], cache: HashCache, *, limit: int | None, origin: Origin) -> tuple[KeyedStep, ...]:
    """Probe every step and compute its key; ``steps`` come in topological order. Raises what the probe raises."""
    probes = {
        step.name: probe_step(
            step.definition,
            step.config,
            cache,
            limit=limit,
            origin=lambda name, step=step: origin(("steps", step.name, *name.split("."))),  # type: ignore[misc]
        )
        for step in steps
    }
    cache.save()
    return with_keys(steps, probes, limit=limit)


def with_keys(
    steps: Sequence[Step], probes: Mapping[str, Probed], *, limit: int | None = None
) -> tuple[KeyedStep, ...]:
    """The keys of steps in topological order. Pure."""
    keyed: dict[str, KeyedStep] = {}
    for step in steps:
        probed = probes[step.name]
        document = key_document(
            step.definition,
            probed.config,
            inputs={port: tuple((name, keyed[name].key) for name in names) for port, names in step.inputs.items()},
            sources=probed.digests,
            tools=probed.tools,
            limit=limit,
        )
        keyed[step.name] = KeyedStep(step, probed, document, key_of(document))
    return tuple(keyed.values())


def make_plan(keyed: Sequence[KeyedStep], facts: Mapping[str, Facts], selection: Selection = EVERYTHING) -> Plan:
    """Decide every step. Raises ConfigError when the selection names a step that does not exist."""
    names = [item.step.name for item in keyed]
    for option in ("only", "until", "force"):
        for name in getattr(selection, option):
            if name not in names:
                raise ConfigError(
                    f"there is no step '{name}'",
                    where=f"--{option} {name}",
                    do=did_you_mean(name, names) or f"the steps are {', '.join(names)}",
                )
    shown, runnable = _selected(keyed, selection)
    planned: dict[str, PlannedStep] = {}
    for item in keyed:
        if item.step.name in shown:
            planned[item.step.name] = _decide(
                item, facts[item.step.name], planned, selection, item.step.name in runnable
            )
    return Plan(tuple(planned.values()))


def _selected(keyed: Sequence[KeyedStep], selection: Selection) -> tuple[set[str], set[str]]:
    """(steps the plan shows, steps it may make)."""
    parents = {item.step.name: item.step.parents for item in keyed}
    if selection.only:
        return {*selection.only, *(parent for name in selection.only for parent in parents[name])}, set(selection.only)
    if not selection.until:
        return set(parents), set(parents)
    wanted, rest = set(), list(selection.until)
    while rest:
        name = rest.pop()
        if name not in wanted:
            wanted.add(name)
            rest.extend(parents[name])
    return wanted, wanted


def _decide(
    item: KeyedStep, facts: Facts, planned: Mapping[str, PlannedStep], selection: Selection, runnable: bool
) -> PlannedStep:
    name, record = item.step.name, facts.record
    forced = name in selection.force
    if record is not None and not forced:
        decision, reasons = _reuse(item, record, facts, planned)
        return PlannedStep(item, decision, reasons, facts, record.generation)
    generation = record.generation + 1 if record is not None else 1
    reasons = ("--force: a new generation of the same key",) if forced and record is not None else _why(item, facts)
    blockers = _blockers(item, facts, planned, runnable)
    if blockers:
        return PlannedStep(item, Decision.BLOCKED, blockers, facts, generation)
    if facts.units and not (forced and record is not None):
        return PlannedStep(
            item,
            Decision.ADOPT,
            (f"{facts.units} finished units of an earlier attempt", *reasons),
            facts,
            generation,
            facts.units,
        )
    return PlannedStep(item, Decision.RUN, reasons, facts, generation)


def _reuse(
    item: KeyedStep, record: Record, facts: Facts, planned: Mapping[str, PlannedStep]
) -> tuple[Decision, tuple[str, ...]]:
    stale = []
    for read in (row for rows in record.data["inputs"].values() for row in rows):
        parent = planned.get(read["step"])
        now = parent.facts.record if parent else None
        if (
            parent
            and now
            and not parent.works
            and now.key == read["key"]
            and now.content_digest != read["content_digest"]
        ):
            stale.append(
                f"input {read['step']} was rebuilt with other bytes: "
                f"{read['content_digest'][:SHORT]} -> {now.content_digest[:SHORT]}; "
                f"rebuild with --force {item.step.name}"
            )
    if stale:
        return Decision.STALE, tuple(stale)
    if facts.source_hash and record.data.get("source_hash") not in ("", None, facts.source_hash):
        return Decision.DRIFT, (
            f"the source of stage {item.step.definition.name} changed since; bump code_version if its results do",
        )
    return Decision.HIT, ()


def _why(item: KeyedStep, facts: Facts) -> tuple[str, ...]:
    """The fields that differ from the nearest earlier result: of the same step, with the fewest, the newest."""
    if not facts.nearest:
        return ("first run",)
    ranked = sorted(
        facts.nearest,
        key=lambda record: (
            record.step != item.step.name,
            len(difference(record.document, item.document)),
            -float(record.data["created"]),
        ),
    )
    return tuple(difference(ranked[0].document, item.document)) or ("first run",)


def _blockers(item: KeyedStep, facts: Facts, planned: Mapping[str, PlannedStep], runnable: bool) -> tuple[str, ...]:
    if not runnable:
        return ("not selected and not made yet",)
    if facts.holder is not None:
        who = facts.holder
        return (f"run {who['run_id']} (process {who['pid']} on {who['host']}) is making it",)
    return tuple(
        f"input {parent} is not made and not selected (use --until {item.step.name})"
        if planned[parent].reasons == ("not selected and not made yet",)
        else f"input {parent} is blocked"
        for parent in item.step.parents
        if planned[parent].decision is Decision.BLOCKED
    )
