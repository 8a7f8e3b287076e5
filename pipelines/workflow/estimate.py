"""What a plan will cost, from what earlier results of the same stages cost. Rules of thumb, said to be so.

An earlier result of a stage is scaled by how much more there is to do: optimizer or RL steps when the configuration
names them, else bytes of the sources, else samples of the inputs. A stage that never ran here is unknown, not guessed.

    documents, 200 MB of PDFs took 40 s and made 1,000 samples in 12 MB; now 500 MB: about 100 s, 2,500 samples, 30 MB
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core.canonical import leaves
from pipelines.workflow.files import read_json
from pipelines.workflow.plan import Plan, PlannedStep, nearest
from pipelines.workflow.store import Record, read_record


@dataclass(frozen=True)
class Load:
    """How much there was to do, in one ``unit``: ``steps``, ``source bytes`` or ``samples``."""

    unit: str
    amount: float


@dataclass(frozen=True)
class Estimate:
    """Seconds, bytes on disk and samples of one step; None is unknown. ``basis`` says where they come from."""

    seconds: float | None = None
    bytes: int | None = None
    samples: int | None = None
    basis: str = "no earlier result of this stage"


@dataclass(frozen=True)
class Total:
    """The work of a plan: what is known of it, and how many steps are not."""

    seconds: float
    bytes: int
    unknown: int


def estimate(plan: Plan) -> dict[str, Estimate]:
    """Step name -> estimate of every step that would be made. Reads the records of neighbours, nothing else."""
    found: dict[str, Estimate] = {}
    for planned in plan.work:
        before = nearest(planned.keyed, planned.facts)
        if before is None:
            found[planned.name] = Estimate()
        else:
            found[planned.name] = scaled(before, _load_now(planned, plan, found), _load_then(before))
    return found


def scaled(before: Record, now: Load | None, then: Load | None) -> Estimate:
    """An earlier result's figures times the ratio of the loads; as they were when the loads cannot be compared."""
    label = before.folder.name
    ratio, basis = 1.0, f"as {label}"
    if now and then and now.unit == then.unit and then.amount > 0 and now.amount > 0:
        ratio = now.amount / then.amount
        basis = f"{label} at {ratio:.2g} times its {now.unit}" if abs(ratio - 1) > 0.005 else basis
    samples = before.stats.get("samples")
    return Estimate(
        seconds=round(float(before.data["seconds"]) * ratio, 1),
        bytes=round(before.data["bytes"] * ratio),
        samples=round(samples * ratio) if isinstance(samples, int | float) else None,
        basis=basis,
    )


def total(estimates: Mapping[str, Estimate]) -> Total:
    return Total(
        sum(item.seconds or 0.0 for item in estimates.values()),
        sum(item.bytes or 0 for item in estimates.values()),
        sum(item.seconds is None for item in estimates.values()),
    )


def steps_of(config: Any) -> float:
    """Sum of all numbers called ``steps`` in a configuration: ``{"phases": [{"steps": 40}, {"steps": 30}]}`` has 70."""
    found = (value for path, value in leaves(config) if path[-1:] == ("steps",))
    return float(sum(value for value in found if isinstance(value, int | float)))


def _load(config: Any, sizes: Sequence[int], samples: Iterable[Any]) -> Load | None:
    if steps := steps_of(config):
        return Load("steps", steps)
    if sizes:
        return Load("source bytes", sum(sizes))
    counts = list(samples)
    known = [count for count in counts if isinstance(count, int | float)]
    return Load("samples", sum(known)) if counts and len(known) == len(counts) else None


def _load_now(planned: PlannedStep, plan: Plan, found: Mapping[str, Estimate]) -> Load | None:
    parents = [plan[name] for name in planned.keyed.step.parents]
    samples = (
        found[step.name].samples if step.works else step.facts.record and step.facts.record.stats.get("samples")
        for step in parents
    )
    sizes = [file.size for files in planned.keyed.probed.files.values() for file in files]
    return _load(planned.keyed.document["config"], sizes, samples)


def _load_then(before: Record) -> Load | None:
    spec = read_json(before.folder / "attempts" / str(before.data["attempt"]) / "spec.json") or {}
    sizes = [size for rows in spec.get("sources", {}).values() for _, _, size, _ in rows]

    def samples() -> Iterator[Any]:
        for row in itertools.chain.from_iterable(before.data["inputs"].values()):  # where it lies under this root now
            stage, folder = row["folder"].rstrip("/").split("/")[-2:]
            record = read_record(before.folder.parent.parent / stage / folder)
            yield record.stats.get("samples") if record is not None and record.key == row["key"] else None

    return _load(before.document["config"], sizes, samples())
