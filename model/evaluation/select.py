"""Which samples are evaluated, with which pictures, in which chunks: pure functions of the index.

The order is that of a hash, never of the manifest, so a limit takes a fair part of every file. Test rows only: a row of
another split is an error, not something to skip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from pipelines.core.canonical import digest
from pipelines.core.errors import DataError
from pipelines.shards.index import SampleRef

T = TypeVar("T")


def refuse_all_but_test(refs: Iterable[SampleRef]) -> None:
    """Raises DataError naming the first sample that is not of the test split."""
    for ref in refs:
        if ref.split != "test":
            raise DataError(
                f"evaluation reads only the test split, sample {ref.key!r} is of {ref.split!r}",
                where=ref.shard,
                why="a figure on samples that were trained on says nothing",
                do="give evaluate shards whose manifest declares a test split",
            )


def fair_order(refs: Iterable[SampleRef], seed: int) -> list[SampleRef]:
    """The samples in the order of hash(seed, dataset, key): stable whatever else the artifact holds."""
    return sorted(refs, key=lambda ref: digest(["evaluate", seed, ref.dataset, ref.key]))


def derangement(groups: Sequence[Hashable], sizes: Sequence[int]) -> list[int]:
    """For each sample the index of another whose group differs: the *wrong picture* of the reading task.

    ``groups[i]`` is the page a sample shows (its views share a text, so they must not stand in for each other) and
    ``sizes[i]`` its number of lines; samples are sorted by (lines, group) and rotated by the largest group, so the
    wrong picture nearly always has as many lines: only what is written differs. Raises ValueError
    when one group holds more than half of the samples: no such assignment exists.

    ``derangement("abc", [1, 1, 1]) == [1, 2, 0]``."""
    shift = max(Counter(groups).values(), default=0)
    if 2 * shift > len(groups):
        raise ValueError(f"{shift} of {len(groups)} samples show one page: a wrong picture cannot be found for each")
    first_size = dict(zip(groups[::-1], sizes[::-1], strict=True))
    order = sorted(range(len(groups)), key=lambda i: (first_size[groups[i]], repr(groups[i]), i))
    partner = dict(zip(order, order[shift:] + order[:shift], strict=True))
    return [partner[index] for index in range(len(groups))]


def chunked(items: Sequence[T], size: int) -> Iterator[tuple[T, ...]]:
    """Consecutive chunks of at most ``size``, sizes within one of each other: ``chunked("abcd", 3)`` -> ab, cd."""
    if size < 1:
        raise ValueError(f"chunk size is {size}, at least 1 is needed")
    count = -(-len(items) // size)
    for number in range(count):
        yield tuple(items[number * len(items) // count : (number + 1) * len(items) // count])
