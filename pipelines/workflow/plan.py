"""What would run, and why. Pure: keys and what the store holds go in, decisions with reasons come out.

``HIT`` reuse it · ``RUN`` make it · ``ADOPT`` make it, going on from finished units · ``BLOCKED`` cannot be made now ·
``DRIFT`` reuse it, but the stage's source changed under the same ``code_version`` · ``STALE`` reuse it, but an input
was rebuilt with other bytes since.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from pipelines.core.errors import no_such
from pipelines.core.storage import Place
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

    folder: Place
    record: Record | None = None
    units: int = 0
    nearest: tuple[Record, ...] = ()
    holder: Mapping[str, Any] | None = None
    source_hash: str = ""


@dataclass(frozen=True)
class Selection:
    """``only`` these steps; ``start`` with these and make what follows them (``--from``); nothing
    after ``until``; ``force`` these again although they exist, with ``downstream`` all that follows them too;
    ``refresh`` rebuilds STALE steps, ``strict_code`` those with DRIFT. With ``wait`` a step that another run makes is
    waited for, without it is BLOCKED. ``limit``: of the sources only the first so many."""

    limit: int | None = None
    only: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    downstream: bool = False
    refresh: bool = False
    strict_code: bool = False
    wait: bool = False

    @property
    def kept(self) -> dict[str, list[str]]:
        """What a run record keeps of it, for ``resume``: nothing is forced or refreshed a second time."""
        return {"only": list(self.only), "start": list(self.start), "until": list(self.until)}

    def typed(self, overrides: Sequence[str]) -> list[str]:
        """The words to type for the same steps, without the options that make existing ones anew."""
        options = ["--limit", str(self.limit)] if self.limit is not None else []
        for field in ("only", "start"):
            options += [word for name in getattr(self, field) for word in (NAMING[field], name)]
        return [*self.until, *overrides, *options]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.only, *self.start, *self.until, *self.force)

    def renamed(self, called: Callable[[str], Sequence[str]]) -> Selection:
        """The same with other names: ``called`` gives those of a step."""
        fields: dict[str, Any] = {
            name: tuple(new for old in getattr(self, name) for new in called(old)) for name in NAMING
        }
        return replace(self, **fields)


NAMING = {"only": "--only", "start": "--from", "until": "--until", "force": "--force"}
"""The fields of a selection that name steps, and what a person calls them."""
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
            **asdict(self.keyed.step.config.demand().whole),
            "asks": self.keyed.step.config.asks(),
        }


@dataclass(frozen=True)
class Plan:
    steps: tuple[PlannedStep, ...]

    def __getitem__(self, name: str) -> PlannedStep:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, PlannedStep]:
        return {step.name: step for step in self.steps}

    @property
    def work(self) -> tuple[PlannedStep, ...]:
        return tuple(step for step in self.steps if step.works)

    @property
    def blocked(self) -> tuple[PlannedStep, ...]:
        return tuple(step for step in self.steps if step.decision is Decision.BLOCKED)


def key_steps(
    steps: Sequence[Step], cache: HashCache, *, limit: int | None, origin: Origin, folder: str | os.PathLike[str] = ""
) -> tuple[KeyedStep, ...]:
    """Probe every step and compute its key; ``steps`` come in topological order, relative paths are those of ``folder``.
    Raises what the probe raises."""
    probes: dict[str, Probed] = {}
    try:
        for step in steps:

            def place(name: str, step: str = step.name) -> str:
                return origin(("steps", step, *name.split(".")))

            probes[step.name] = probe_step(
                step.definition, step.config, cache, limit=limit, folder=folder, origin=place
            )
    finally:
        cache.save()  # also what an interrupted planning has hashed
    return with_keys(steps, probes, limit=limit)


def with_keys(
    steps: Sequence[Step], probes: Mapping[str, Probed], *, limit: int | None = None
) -> tuple[KeyedStep, ...]:
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
    for field, option in NAMING.items():
        for name in getattr(selection, field):
            if name not in names:
                raise no_such("there is no step", name, names, listed="the steps are", where=f"{option} {name}")
    parents = {item.step.name: item.step.parents for item in keyed}
    forced = descendants(parents, selection.force) if selection.downstream else set(selection.force)
    shown, runnable = _selected(parents, selection)
    planned: dict[str, PlannedStep] = {}
    for item in keyed:
        name = item.step.name
        if name in shown:
            planned[name] = _decide(item, facts[name], planned, selection, name in forced, name in runnable)
    return Plan(tuple(planned.values()))


def descendants(parents: Mapping[str, Sequence[str]], names: Sequence[str]) -> set[str]:
    """``names`` and every step that reads one of them, however indirectly; ``parents`` in topological order."""
    found = set(names)
    for name, needed in parents.items():
        if found.intersection(needed):
            found.add(name)
    return found


def ancestors(parents: Mapping[str, Sequence[str]], names: Sequence[str]) -> set[str]:
    """``names`` and every step that one of them reads; ``parents`` in topological order."""
    found = set(names)
    for name in reversed(list(parents)):
        if name in found:
            found.update(parents[name])
    return found


def _selected(parents: Mapping[str, Sequence[str]], selection: Selection) -> tuple[set[str], set[str]]:
    """(steps the plan shows, steps it may make)."""
    runnable = set(selection.only or parents)
    if selection.start:
        runnable &= descendants(parents, selection.start)
    if selection.until:
        runnable &= ancestors(parents, selection.until)
    if not selection.only and not selection.start:
        return runnable, runnable
    return runnable | {parent for name in runnable for parent in parents[name]}, runnable


def _decide(
    item: KeyedStep,
    facts: Facts,
    planned: Mapping[str, PlannedStep],
    selection: Selection,
    forced: bool,
    runnable: bool,
) -> PlannedStep:
    record = facts.record
    if record is None:
        before = nearest(item, facts)
        generation, reasons = 1, tuple(difference(before.document, item.document)) if before else ("first run",)
    else:
        decision, found = _reuse(item, record, facts, planned)
        renewed = {Decision.STALE: selection.refresh, Decision.DRIFT: selection.strict_code}.get(decision, False)
        if not forced and not (renewed and runnable):
            return PlannedStep(item, decision, found, facts, record.generation)
        generation = record.generation + 1
        reasons = ("--force: a new generation of the same key",) if forced else found
    blockers = _blockers(item, facts, planned, selection, runnable)
    if blockers:
        return PlannedStep(item, Decision.BLOCKED, blockers, facts, generation)
    if facts.holder is not None:
        reasons = (f"{_holder(facts.holder)}: wait for it", *reasons)
    if facts.units and record is None:
        adopted = f"{facts.units} finished units of an earlier attempt"
        return PlannedStep(item, Decision.ADOPT, (adopted, *reasons), facts, generation, facts.units)
    return PlannedStep(item, Decision.RUN, reasons, facts, generation)


def _holder(who: Mapping[str, Any]) -> str:
    return f"run {who['run_id']} (process {who['pid']} on {who['host']}) is making it"


def _reuse(
    item: KeyedStep, record: Record, facts: Facts, planned: Mapping[str, PlannedStep]
) -> tuple[Decision, tuple[str, ...]]:
    stale = []
    for read in (row for rows in record.data["inputs"].values() for row in rows):
        parent, before = planned.get(read["step"]), read["content_digest"]
        now = parent.facts.record if parent and not parent.works else None
        if now and now.key == read["key"] and now.content_digest != before:
            changed = f"{before[:SHORT]} -> {now.content_digest[:SHORT]}"
            stale.append(f"input {read['step']} was rebuilt with other bytes: {changed}; rebuild with --refresh")
    if stale:
        return Decision.STALE, tuple(stale)
    if facts.source_hash and record.data.get("source_hash") not in ("", None, facts.source_hash):
        stage = item.step.definition.name
        return Decision.DRIFT, (f"the source of stage {stage} changed since; bump code_version if its results do",)
    return Decision.HIT, ()


UNSELECTED = ("not selected and not made yet",)
NEIGHBOURS = 20
"""How many earlier results a missing step is compared with: the newest of the same step, else of the same stage."""


def nearest(item: KeyedStep, facts: Facts) -> Record | None:
    """The earlier result of the stage that explains most: of the same step, with the fewest differences, the newest."""
    name = item.step.shown
    newest = sorted(facts.nearest, key=lambda record: (record.step != name, -float(record.data["created"])))
    ranked = [
        (record.step != name, len(lines), index)
        for index, record in enumerate(newest[:NEIGHBOURS])
        if (lines := difference(record.document, item.document))
    ]
    return newest[min(ranked)[2]] if ranked else None


def _blockers(
    item: KeyedStep, facts: Facts, planned: Mapping[str, PlannedStep], selection: Selection, runnable: bool
) -> tuple[str, ...]:
    if not runnable:
        return UNSELECTED
    if facts.holder is not None and not selection.wait:
        return (_holder(facts.holder),)
    blocked = (planned[parent] for parent in item.step.parents if planned[parent].decision is Decision.BLOCKED)
    return tuple(
        f"input {parent.name} is not made and not selected (use --until {item.step.name})"
        if parent.reasons == UNSELECTED
        else f"input {parent.name} is blocked"
        for parent in blocked
    )
