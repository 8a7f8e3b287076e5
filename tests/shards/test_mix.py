from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.errors import ConfigError, DataError
from pipelines.shards.index import SampleRef
from pipelines.shards.mix import mix, schedule


def refs(dataset: str, count: int, split: str = "train") -> list[SampleRef]:
    return [SampleRef(dataset, "s.tar", f"{dataset}-{i}", 0, 0, split, "text", 0, 0, 0, ()) for i in range(count)]


WEIGHTS = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 50), min_size=1)


@given(WEIGHTS, st.integers(0, 400))
def test_every_prefix_has_each_dataset_within_one_sample_of_its_share(weights: dict[str, float], count: int) -> None:
    taken: Counter[str] = Counter()
    total = sum(weights.values())
    for n, name in enumerate(schedule(weights, count), 1):
        taken[name] += 1
        assert all(abs(taken[key] - n * weight / total) < 1 for key, weight in weights.items())
    assert taken.total() == count


@settings(max_examples=30)
@given(WEIGHTS, st.integers(0, 5), st.integers(1, 100))
def test_the_order_is_a_pure_function(weights: dict[str, float], seed: int, count: int) -> None:
    datasets = {name: refs(name, 7) for name in weights}
    once = mix(datasets, weights, seed, 0, count)
    again = mix(dict(reversed(datasets.items())), dict(reversed(weights.items())), seed, 0, count)
    assert once == again
    assert len(once) == count


def test_a_dataset_is_walked_through_before_any_sample_comes_again() -> None:
    datasets = {"a": refs("a", 10), "b": refs("b", 3)}
    drawn = [ref.key for epoch in range(4) for ref in mix(datasets, {"a": 1, "b": 1}, 0, epoch, 10)]
    a = [key for key in drawn if key.startswith("a")]
    assert len(set(a[:10])) == len(set(a[10:])) == 10
    b = [key for key in drawn if key.startswith("b")]
    assert all(len(set(b[start : start + 3])) == 3 for start in range(0, 18, 3))
    assert a[:10] != a[10:]


def test_seed_and_dataset_change_the_order() -> None:
    datasets = {"a": refs("a", 50), "b": refs("b", 50)}
    first, other = (mix(datasets, {"a": 1, "b": 1}, seed, 0, 40) for seed in (0, 1))
    assert first != other
    numbers = [[ref.key.split("-")[1] for ref in first if ref.dataset == name] for name in "ab"]
    assert numbers[0] != numbers[1]


def test_the_worked_example_of_the_docstring() -> None:
    assert schedule({"a": 2, "b": 1}, 6) == ["a", "b", "a", "a", "b", "a"]


def test_test_rows_never_come_out_of_a_mix() -> None:
    with pytest.raises(DataError, match="test sample"):
        mix({"a": [*refs("a", 3), *refs("x", 1, "test")]}, {"a": 1.0}, 0, 0, 1)


@pytest.mark.parametrize("weights", [{"a": 1, "typo": 1}, {"a": 1, "empty": 0.5}, {"a": -1}, {"a": 0}, {}])
def test_weights_that_cannot_be_meant_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        mix({"a": refs("a", 3), "empty": []}, weights, 0, 0, 5)


def test_a_dataset_with_weight_zero_stays_out() -> None:
    mixed = mix({"a": refs("a", 3), "b": refs("b", 3)}, {"a": 1, "b": 0}, 0, 0, 20)
    assert {ref.dataset for ref in mixed} == {"a"}
