"""The order of training samples as a pure function: equal on every machine, at every worker count.

Which dataset comes at position n follows Tijdeman's chairman assignment: after any n samples each dataset has had its
share of n to within one sample (no draw of luck, no loss spike from a streak). Which of its samples comes is the
next of a seeded permutation; a dataset is walked through completely before any of its samples comes again, over
epochs too.

Worked example: weights {a: 2, b: 1} give ``a b a  a b a ...``: after 3 samples 2 of a and 1 of b.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.seeds import generator
from pipelines.shards.index import SampleRef


def mix(
    refs_by_dataset: Mapping[str, Sequence[SampleRef]], weights: Mapping[str, float], seed: int, epoch: int, count: int
) -> list[SampleRef]:
    """``count`` samples of epoch ``epoch``, stratified by weight.

    Args:
        refs_by_dataset: dataset -> its samples (``ShardIndex.by_dataset``).
        weights: dataset -> share of the *samples* (any scale); datasets without a weight or with 0 stay out.
    Raises:
        ConfigError: a weight for an unknown or empty dataset, a negative weight, none above 0.
        DataError: a sample of the test split.
    """
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
    active = {name: weights[name] for name in sorted(weights) if weights[name] > 0}
    if not active:
        raise ConfigError("mix has no dataset with a weight above 0")
    for name in active:
        for ref in refs_by_dataset[name]:
            if ref.split == "test":
                raise DataError(
                    f"training mix was given test sample {ref.key!r} of {name}",
                    why="test rows are only for evaluation",
                    do="select(split='train') first",
                )
    order = schedule(active, count)
    per_epoch = Counter(order)
    taken = {name: epoch * per_epoch[name] for name in active}
    permutations: dict[tuple[str, int], list[int]] = {}
    mixed = []
    for name in order:
        refs = refs_by_dataset[name]
        walk, position = divmod(taken[name], len(refs))
        if (name, walk) not in permutations:
            permutations[name, walk] = generator("mix", seed, name, walk).permutation(len(refs)).tolist()
        mixed.append(refs[permutations[name, walk][position]])
        taken[name] += 1
    return mixed


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
