"""Which sample of a phase comes when, and how it is visited: a pure function of (seed, phase, mix weights)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, get_args

from model.training.phases import Mode, Phase
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.seeds import generator, seed_of
from pipelines.corruption.view import ONLINE
from pipelines.shards.index import SampleRef
from pipelines.shards.mix import Mixer, mix, refuse_test_rows, repeated

_MODES = frozenset(get_args(Mode))
_CHUNK = 2048
"""Samples asked of the mix at a time; a part of the identity of an order."""


class Item(NamedTuple):
    """A sample in a plan. ``package``: frames per package for its videos, 0 = 2D (frame by frame). ``stride``: every
    stride-th frame is kept. ``draw``: seed of what is drawn at this visit (a page stored clean is damaged anew)."""

    ref: SampleRef
    package: int = 0
    stride: int = 1
    draw: int = 0


def eligible(
    refs_by_dataset: Mapping[str, Sequence[SampleRef]], phase: Phase
) -> tuple[dict[str, list[SampleRef]], tuple[str, ...]]:
    """Samples of the weighted datasets that the phase trains on, and the names of those left without any. A sample
    without a mode among its tags fits every phase."""

    def fits(ref: SampleRef) -> bool:
        modes = _MODES.intersection(ref.tags)
        return (not modes or bool(modes & set(phase.modes))) and not set(phase.without).intersection(ref.tags)

    eligible: dict[str, list[SampleRef]] = {}
    for name in phase.datasets:
        if name not in refs_by_dataset:
            raise ConfigError(
                f"phase {phase.name!r} mixes {name!r}, which is no input of this step",
                why=f"shard inputs: {', '.join(sorted(refs_by_dataset)) or 'none'}",
                do="correct the name in `weights`, or add the step to `inputs.shards`",
            )
        refuse_test_rows(refs_by_dataset, [name])
        if any(weights.get(name, 0) > 0 for weights in phase.mixes.values()):
            eligible[name] = [ref for ref in refs_by_dataset[name] if fits(ref)]
    empty = tuple(name for name, refs in eligible.items() if not refs)
    if len(empty) == len(eligible):
        raise DataError(
            f"phase {phase.name!r} has nothing to train on",
            why=f"no train sample of mode {' or '.join(phase.modes)} in {', '.join(empty)}"
            + (f" without {' or '.join(phase.without)}" if phase.without else ""),
            do="give more inputs, or other weights",
        )
    return {name: refs for name, refs in eligible.items() if refs}, empty


def visits(
    refs_of: Mapping[str, Sequence[SampleRef]],
    phase: Phase,
    index: int,
    seed: int,
    progress: Callable[[], Fraction],
) -> Iterator[Item]:
    """Samples of the mix without end, each with its drawn package size and stride (videos only), or with the seed of its
    draw at this visit (pages stored clean). ``progress``: the part of the phase's packs that are closed; a changing mix
    asks for it before every stratum."""
    draws = generator("package", seed, index)
    seen: Counter[tuple[str, str]] = Counter()
    for ref in _order(refs_of, phase, seed_of("plan", seed, index) % 2**63, progress):
        if ONLINE in ref.tags:
            visit = seen[ref.dataset, ref.key]
            seen[ref.dataset, ref.key] += 1
            yield Item(ref, draw=seed_of("draw", seed, index, ref.dataset, visit))
            continue
        if not ref.frames:
            yield Item(ref)
            continue
        package = int(draws.integers(phase.package[0], phase.package[1] + 1)) if phase.package else 0
        yield Item(ref, package, int(draws.integers(phase.stride[0], phase.stride[1] + 1)))


def _order(
    refs_of: Mapping[str, Sequence[SampleRef]], phase: Phase, seed: int, progress: Callable[[], Fraction]
) -> Iterator[SampleRef]:
    """Samples without end: epochs of exact repetitions, strata whose shares follow the phase, or one running order."""
    if phase.repetitions or not phase.stratify:
        if phase.repetitions:
            weights, count = repeated(refs_of, {name: phase.repetitions[name] for name in refs_of})
        else:
            weights, count = {name: phase.weights[name] for name in refs_of}, _CHUNK
        epoch = 0
        while True:
            yield from mix(refs_of, weights, seed, epoch, count, phase.stratify)
            epoch += 1
    mixer = Mixer(refs_of, seed)
    while True:
        shares = {name: share for name, share in phase.shares_at(progress()).items() if name in refs_of}
        total = sum(shares.values())
        if not total:
            raise DataError(
                f"phase {phase.name!r}: no dataset of the mix at {float(progress()):.0%} has a sample for it",
                do="give weight to a dataset with samples, at every point of the phase",
            )
        yield from mixer.next({name: share / total for name, share in shares.items()}, phase.stratify)
