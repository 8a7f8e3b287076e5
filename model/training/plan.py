"""From samples to packs, before anything is decoded: a pure function of (seed, phase, mix weights, budget).

The plan is *global*: a list of ``steps * packs_per_step`` packs. Rank r of W takes, of the packs of one step, numbers
r, r + W, r + 2W ...; so every rank has the same count at every step by construction (no rank can run dry and hang the
others), the place in the data is the number of the next step, and the plan does not change with W.

A pack holds up to ``tokens_per_pack`` *work tokens*: sequence tokens plus ``patch_cost`` times encoder patches, where
``patch_cost`` is what a patch costs in the tower relative to a token in the language model. Full packs are therefore
near-equal work for all ranks, whatever they hold.

Worked example: budget 10, costs in mix order ``a6 b5 c4 d5 e3``, two open packs at most::

    a6 -> [a6]            b5 -> [a6] [b5]         c4 fits [a6] tightest -> [a6 c4] [b5]
    d5 fits [b5]          -> [a6 c4] [b5 d5]      e3 fits none: the fullest is closed, a new one opened

Samples keep about their mix order: a pack is closed as soon as the next sample fits nowhere. A nearly full one may
wait long for its turn; with ``stratify`` the oldest is closed instead, so no sample comes later than its stratum by more
than the packs that are open (the price is printed as ``fill``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, get_args

from model.config import ModelConfig
from model.training.phases import Mode, Phase
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.seeds import generator, seed_of
from pipelines.corruption.view import ONLINE
from pipelines.shards.index import SampleRef
from pipelines.shards.mix import Mixer, mix, repeated

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


@dataclass(frozen=True)
class Geometry:
    """What a sample costs, from its manifest row alone.

    ``queries``: visual tokens of a view or package. ``view_patches``: patches of one view (every view is scaled to
    about ``scale_resolution`` squared pixels). ``patch_cost``: tower work of a patch / language work of a token.
    ``bytes_per_token``: of the tokenizer, about 3.5 for Qwen's vocabulary, 1 for raw bytes.
    """

    queries: int
    scale_resolution: int
    view_patches: int
    max_slice_nums: int
    patch_cost: float
    bytes_per_token: float = 1.0

    @classmethod
    def of(cls, config: ModelConfig, bytes_per_token: float = 1.0) -> Geometry:
        """Multiply-adds per patch and per token follow from the widths (attention scores left out: they are small)."""
        tower, language = config.vision, config.language
        per_patch = tower.num_hidden_layers * (
            4 * tower.hidden_size**2 + 2 * tower.hidden_size * tower.intermediate_size
        )
        heads = language.num_attention_heads + language.num_key_value_heads
        per_layer = language.hidden_size * (2 * heads * language.head_dim + 3 * language.intermediate_size)
        return cls(
            queries=config.query_num,
            scale_resolution=config.slicing.scale_resolution,
            view_patches=max(1, round((config.slicing.scale_resolution / config.slicing.patch_size) ** 2)),
            max_slice_nums=config.slicing.max_slice_nums,
            patch_cost=per_patch / (language.num_hidden_layers * per_layer),
            bytes_per_token=bytes_per_token,
        )

    def cost(self, item: Item) -> int:
        """Work tokens of a sample: an estimate, not a bound (the true lengths are known after encoding)."""
        ref = item.ref
        frames = math.ceil(ref.frames / item.stride)
        images = ref.views - ref.frames
        views = images * self._views(ref.width, ref.height) + frames
        packages = math.ceil(frames / item.package) if item.package else frames
        groups = images * self._views(ref.width, ref.height) + packages
        tokens = groups * (self.queries + 3) + images * 3 + self._text(ref.text_bytes)
        return tokens + math.ceil(views * self.view_patches * self.patch_cost)

    def _text(self, size: int) -> int:
        """Tokens of ``size`` bytes and the frame of one question and answer: 8 control tokens, 24 letters."""
        return math.ceil((size + 24) / self.bytes_per_token) + 8

    def _views(self, width: int, height: int) -> int:
        """Thumbnail plus slices of one image (about: the best grid may have one slice more or less)."""
        ideal = math.ceil(width * height / self.scale_resolution**2)
        slices = min(ideal, self.max_slice_nums)
        return 1 if slices <= 1 else 1 + slices


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
        DataError: a test sample, or no sample that fits a pack.
    """
    if phase.packs_per_step % world_size:
        raise ConfigError(
            f"phase {phase.name!r}: packs_per_step {phase.packs_per_step} does not divide over {world_size} ranks",
            do=f"set it to a multiple of {world_size}",
        )
    refs_of, empty = _eligible(refs_by_dataset, phase)
    wanted = phase.steps * phase.packs_per_step
    budget, width = phase.tokens_per_pack, max(4, 2 * phase.packs_per_step)
    packs: list[tuple[Item, ...]] = []
    open_packs: list[tuple[int, list[Item]]] = []  # (room left, items)
    used = dropped = kept = 0
    taken: Counter[str] = Counter()
    for item in _stream(refs_of, phase, index, seed, lambda: Fraction(len(packs), wanted)):
        taken[item.ref.dataset] += 1
        cost = geometry.cost(item)
        if cost > budget:
            dropped += 1
            if not kept and dropped > 100_000:
                raise DataError(
                    f"phase {phase.name!r}: no sample fits a pack of {budget} work tokens",
                    why=f"for one, {item.ref.key!r} of {item.ref.dataset} needs about {cost}",
                    do="raise tokens_per_pack",
                )
            continue
        kept += 1
        fitting = [n for n, (room, _) in enumerate(open_packs) if room >= cost]
        if fitting:
            tightest = min(fitting, key=lambda n: (open_packs[n][0], n))
            room, items = open_packs[tightest]
            items.append(item)
            open_packs[tightest] = (room - cost, items)
            continue
        if len(open_packs) == width:
            closing = 0 if phase.stratify else min(range(width), key=lambda n: (open_packs[n][0], n))
            room, items = open_packs.pop(closing)
            packs.append(tuple(items))
            used += budget - room
            if len(packs) == wanted:
                break
        open_packs.append((budget - cost, [item]))
    passes = {name: taken[name] / len(refs) for name, refs in refs_of.items()}
    return Plan(tuple(packs), phase.packs_per_step, dropped, used / (wanted * budget), empty, passes)


def _eligible(
    refs_by_dataset: Mapping[str, Sequence[SampleRef]], phase: Phase
) -> tuple[dict[str, list[SampleRef]], tuple[str, ...]]:
    """Samples of the weighted datasets that the phase trains on, and the names of those left without any. A sample
    without a mode among its tags fits every phase."""

    def fits(ref: SampleRef) -> bool:
        modes = _MODES.intersection(ref.tags)
        return (not modes or bool(modes & set(phase.modes))) and not set(phase.without).intersection(ref.tags)

    eligible: dict[str, list[SampleRef]] = {}
    parts = [phase.weights or phase.repetitions, *(change.weights for change in phase.changes)]
    for name in phase.datasets:
        if name not in refs_by_dataset:
            raise ConfigError(
                f"phase {phase.name!r} mixes {name!r}, which is no input of this step",
                why=f"shard inputs: {', '.join(sorted(refs_by_dataset)) or 'none'}",
                do="correct the name in `weights`, or add the step to `inputs.shards`",
            )
        for ref in refs_by_dataset[name]:
            if ref.split == "test":
                raise DataError(
                    f"phase {phase.name!r} was given test sample {ref.key!r} of {ref.dataset}",
                    why="test rows are only for evaluation",
                )
        if any(weights.get(name, 0) > 0 for weights in parts):
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


def _stream(
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
    visits: Counter[tuple[str, str]] = Counter()
    for ref in _order(refs_of, phase, seed_of("plan", seed, index) % 2**63, progress):
        if ONLINE in ref.tags:
            visit = visits[ref.dataset, ref.key]
            visits[ref.dataset, ref.key] += 1
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
