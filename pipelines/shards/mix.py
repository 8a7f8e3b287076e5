"""The order of training samples as a pure function: equal on every machine, at every worker count.

Which dataset comes at position n follows Tijdeman's chairman assignment: after any n samples each dataset has had its
share of n to within one sample (no draw of luck, no loss spike from a streak). Which of its samples comes is the
next of a seeded permutation; a dataset is walked through completely before any of its samples comes again, over
epochs too.

With ``batch`` the datasets follow ``strata`` instead: every window of one global batch has the exact counts, rounded
down or up. ``Mixer`` gives such batches one by one, for weights that change on the way; ``repeated`` turns "each
dataset r times" into weights and a length.

Worked example: weights {a: 2, b: 1} give ``a b a  a b a ...``: after 3 samples 2 of a and 1 of b.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import lcm

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.seeds import generator
from pipelines.shards.index import SampleRef
from pipelines.shards.strata import Strata, shares_of


def mix(
    refs_by_dataset: Mapping[str, Sequence[SampleRef]],
    weights: Mapping[str, float],
    seed: int,
    epoch: int,
    count: int,
    batch: int = 0,
) -> list[SampleRef]:
    """``count`` samples of epoch ``epoch``, in proportion to the weights.

    Args:
        refs_by_dataset: dataset -> its samples.
        weights: dataset -> share of the *samples* (any scale); datasets without a weight or with 0 stay out.
        batch: samples of a global batch: every window of that length has the exact counts, rounded. 0: every prefix
            is within one sample of the weights.
    Raises:
        ConfigError: a weight for an unknown or empty dataset, a negative weight, none above 0.
        DataError: a sample of the test split.
    """
    check_weights(refs_by_dataset, weights)
    active = {name: weights[name] for name in sorted(weights) if weights[name] > 0}
    refuse_test_rows(refs_by_dataset, active)
    order = stratified(active, count, batch) if batch else schedule(active, count)
    per_epoch = Counter(order)
    walk = _Walk(refs_by_dataset, seed, {name: epoch * per_epoch[name] for name in active})
    return [walk.next(name) for name in order]


class Mixer:
    """Global batches of samples one by one, under weights that may change between them. The n-th batch is a pure
    function of the samples, the seed and the shares asked for so far."""

    def __init__(self, refs_by_dataset: Mapping[str, Sequence[SampleRef]], seed: int) -> None:
        refuse_test_rows(refs_by_dataset, refs_by_dataset)
        self._walk, self._strata = _Walk(refs_by_dataset, seed, {}), Strata()

    def next(self, shares: Mapping[str, Fraction], batch: int) -> list[SampleRef]:
        """``batch`` samples at these shares (``strata.shares_of``); a share needs a dataset with samples."""
        return [self._walk.next(name) for name in self._strata.next(shares, batch)]


class _Walk:
    """The next sample of each dataset: seeded permutations, one for every time the dataset is walked through."""

    def __init__(self, refs_of: Mapping[str, Sequence[SampleRef]], seed: int, taken: dict[str, int]) -> None:
        self._refs_of, self._seed, self._taken = refs_of, seed, taken
        self._permutation: dict[str, tuple[int, list[int]]] = {}

    def next(self, name: str) -> SampleRef:
        refs = self._refs_of[name]
        taken = self._taken.get(name, 0)
        walk, position = divmod(taken, len(refs))
        if name not in self._permutation or self._permutation[name][0] != walk:
            drawn = generator("mix", self._seed, name, walk).permutation(len(refs)).tolist()
            self._permutation[name] = (walk, drawn)
        self._taken[name] = taken + 1
        return refs[self._permutation[name][1][position]]


def check_weights(refs_by_dataset: Mapping[str, Sequence[SampleRef]], weights: Mapping[str, float]) -> None:
    """Raise ConfigError for weights that cannot be meant: negative, of a dataset without samples, none above 0."""
    for name, weight in weights.items():
        if weight < 0:
            raise ConfigError(f"mix weight of {name} is {weight}, below 0")
        if weight > 0 and not refs_by_dataset.get(name):
            known = ", ".join(sorted(key for key, refs in refs_by_dataset.items() if refs)) or "none"
            raise ConfigError(
                f"mix gives weight {weight} to {name!r}, which has no samples",
                why=f"datasets with samples: {known}",
                do="correct the name, or set its weight to 0",
            )
    if not any(weights.values()):
        raise ConfigError("mix has no dataset with a weight above 0")


def refuse_test_rows(refs_by_dataset: Mapping[str, Sequence[SampleRef]], names: Iterable[str]) -> None:
    """Raise DataError if one of these datasets holds a sample of the test split."""
    for name in names:
        for ref in refs_by_dataset[name]:
            if ref.split == "test":
                raise DataError(
                    f"training mix was given test sample {ref.key!r} of {name}",
                    why="test rows are only for evaluation",
                    do="select(split='train') first",
                )


def repeated(
    refs_by_dataset: Mapping[str, Sequence[SampleRef]], repetitions: Mapping[str, float]
) -> tuple[dict[str, float], int]:
    """(weights, count) of an epoch in which each dataset is walked through ``repetitions`` times: ``mix`` of that many
    samples has exactly ``round(repetitions * samples)`` of each (at least one, if repeated at all).

    Worked example: 100 samples of a, 30 of b, repetitions {a: 0.5, b: 3} give ({a: 50, b: 90}, 140)."""
    check_weights(refs_by_dataset, repetitions)
    takes = {
        name: max(1, round(Fraction(str(times)) * len(refs_by_dataset[name])))
        for name, times in sorted(repetitions.items())
        if times > 0
    }
    return {name: float(take) for name, take in takes.items()}, sum(takes.values())


def stratified(weights: Mapping[str, float], count: int, batch: int) -> list[str]:
    """Dataset at each of ``count`` positions, in global batches of ``batch`` samples (the last may be shorter)."""
    shares, strata = shares_of(weights), Strata()
    order: list[str] = []
    while len(order) < count:
        order += strata.next(shares, min(batch, count - len(order)))
    return order


def schedule(weights: Mapping[str, float], count: int) -> list[str]:
    """Dataset at each of ``count`` positions. After every prefix of n samples, ``|taken_d - n * share_d| < 1``
    (R. Tijdeman, The chairman assignment problem, 1980; exact integer arithmetic)."""
    names = sorted(weights)
    shares = [Fraction(str(weights[name])) for name in names]
    scale = lcm(*(share.denominator for share in shares))
    parts = [int(share * scale) for share in shares]
    total = sum(parts)
    if len(names) == 1:
        return names * count
    slack = 2 * len(names) - 2
    taken = [0] * len(names)
    order = []
    for position in range(1, count + 1):
        best, urgency = -1, 0.0
        for i, part in enumerate(parts):
            lag = slack * (part * position - taken[i] * total)
            if lag < total:
                continue
            deadline = ((slack - 1) * total - lag) / part
            if best < 0 or deadline < urgency:
                best, urgency = i, deadline
        taken[best] += 1
        order.append(names[best])
    return order
