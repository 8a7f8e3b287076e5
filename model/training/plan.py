"""From samples to packs, before anything is decoded: ``order`` says what comes, ``cost`` what it costs, ``packer`` closes
packs. All pure functions of (seed, phase, mix weights, budget).

The plan is *global*: a list of ``steps * packs_per_step`` packs. Rank r of W takes, of the packs of one step, numbers
r, r + W, r + 2W ...; so every rank has the same count at every step by construction (no rank can run dry and hang the
others), the place in the data is the number of the next step, and the plan does not change with W.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from model.training.cost import Geometry
from model.training.order import Item, eligible, visits
from model.training.packer import Packer
from model.training.phases import Phase
from pipelines.core.errors import ConfigError, DataError
from pipelines.shards.index import SampleRef


@dataclass(frozen=True)
class Plan:
    """The packs of one phase. ``dropped`` counts draws of samples that cost more than a whole pack, ``fill`` is used /
    offered budget, ``empty`` names weighted datasets without a sample for this phase (the others took their share),
    ``passes`` says how often each dataset was walked through."""

    packs: tuple[tuple[Item, ...], ...]
    packs_per_step: int
    dropped: int
    fill: float
    empty: tuple[str, ...] = ()
    passes: Mapping[str, float] = field(default_factory=dict)

    def of_rank(self, step: int, rank: int, world_size: int) -> tuple[tuple[int, tuple[Item, ...]], ...]:
        """(number, pack) of this rank at ``step``; every rank gets ``packs_per_step / world_size`` of them."""
        first = step * self.packs_per_step
        return tuple((n, self.packs[n]) for n in range(first + rank, first + self.packs_per_step, world_size))


def plan_phase(
    refs_by_dataset: Mapping[str, Sequence[SampleRef]],
    phase: Phase,
    *,
    index: int,
    seed: int,
    geometry: Geometry,
    world_size: int,
) -> Plan:
    """All packs of phase number ``index``. Pure: the same arguments give the same plan on every machine.

    ``world_size`` is only checked against ``packs_per_step``; it does not change the plan.

    Raises:
        ConfigError: ``packs_per_step`` is not a multiple of ``world_size``; a weight names an unknown dataset.
        DataError: a test sample, or no sample that fits a pack."""
    if phase.packs_per_step % world_size:
        raise ConfigError(
            f"phase {phase.name!r}: packs_per_step {phase.packs_per_step} does not divide over {world_size} ranks",
            do=f"set it to a multiple of {world_size}",
        )
    refs_of, empty = eligible(refs_by_dataset, phase)
    wanted, budget = phase.steps * phase.packs_per_step, phase.tokens_per_pack
    # a stratified phase closes the oldest: no sample comes later than its stratum by more than the open packs (see `fill`)
    packer = Packer(budget, max(4, 2 * phase.packs_per_step), oldest_first=bool(phase.stratify))
    packs: list[tuple[Item, ...]] = []
    dropped = 0
    taken: Counter[str] = Counter()
    for item in visits(refs_of, phase, index, seed, lambda: Fraction(len(packs), wanted)):
        taken[item.ref.dataset] += 1
        cost = geometry.cost(item)
        if cost > budget:
            dropped += 1
            if dropped > 100_000 and dropped == taken.total():
                raise DataError(
                    f"phase {phase.name!r}: no sample fits a pack of {budget} work tokens",
                    why=f"for one, {item.ref.key!r} of {item.ref.dataset} needs about {cost}",
                    do="raise tokens_per_pack",
                )
        elif closed := packer.add(item, cost):
            packs.append(closed)
            if len(packs) == wanted:
                break
    passes = {name: taken[name] / len(refs) for name, refs in refs_of.items()}
    return Plan(tuple(packs), phase.packs_per_step, dropped, packer.used / (wanted * budget), empty, passes)
