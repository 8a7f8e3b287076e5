from __future__ import annotations

import hashlib
import json
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.errors import ConfigError, DataError
from pipelines.shards.index import SampleRef
from pipelines.shards.mix import Mixer, mix, repeated, schedule, stratified
from pipelines.shards.strata import between, shares_of, spread


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


def off(order: list[str], name: str, share: Fraction, window: int) -> Fraction:
    """The largest distance between what any window holds of a dataset and its exact share."""
    taken = np.concatenate([[0], np.cumsum([found == name for found in order])]) * share.denominator
    windows = taken[window:] - taken[:-window] - window * share.numerator
    return Fraction(int(np.abs(windows).max()), share.denominator)


@settings(max_examples=60, deadline=None)
@given(WEIGHTS, st.integers(1, 40), st.integers(2, 25))
def test_every_window_of_a_global_batch_is_within_one_sample_of_the_weights(
    weights: dict[str, float], batch: int, batches: int
) -> None:
    order = stratified(weights, batch * batches, batch)
    assert len(order) == batch * batches
    for name, share in shares_of(weights).items():
        assert off(order, name, share, batch) < 1
        for n in range(1, batches + 1):
            assert abs(order[: n * batch].count(name) - n * batch * share) < 1


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.integers(0, 11), st.integers(1, 1000), min_size=2), st.integers(1, 300))
def test_strata_stay_exact_over_long_runs(parts: dict[int, int], batch: int) -> None:
    weights = {f"d{n:02d}": float(part) for n, part in parts.items()}
    order = stratified(weights, batch * 150, batch)
    for name, share in shares_of(weights).items():
        assert off(order, name, share, batch) < 1
        assert abs(order.count(name) - len(order) * share) < 1


@settings(max_examples=30, deadline=None)
@given(WEIGHTS, WEIGHTS, st.integers(1, 30))
def test_a_mix_that_changes_keeps_every_batch_within_one_sample(
    first: dict[str, float], last: dict[str, float], batch: int
) -> None:
    mixer = Mixer({name: refs(name, 5) for name in {*first, *last}}, 3)
    again = Mixer({name: refs(name, 5) for name in {*first, *last}}, 3)
    for step in range(20):
        shares = between(shares_of(first), shares_of(last), Fraction(step - 5, 10))
        assert sum(shares.values()) == 1
        drawn = mixer.next(shares, batch)
        counts = Counter(ref.dataset for ref in drawn)
        assert all(abs(counts[name] - batch * shares.get(name, 0)) < 1 for name in {*first, *last})
        assert again.next(shares, batch) == drawn


def test_repetitions_are_exact_in_an_epoch_and_go_on_where_the_last_one_stopped() -> None:
    datasets = {"a": refs("a", 10), "b": refs("b", 3)}
    weights, count = repeated(datasets, {"a": 0.5, "b": 3})
    assert (weights, count) == ({"a": 5.0, "b": 9.0}, 14)
    for batch in (0, 4):
        epochs = [Counter(ref.key for ref in mix(datasets, weights, 0, epoch, count, batch)) for epoch in range(2)]
        assert all(epoch[f"b-{n}"] == 3 for epoch in epochs for n in range(3))
        assert sum(epochs, Counter()) == Counter(
            {**{f"a-{n}": 1 for n in range(10)}, **{f"b-{n}": 6 for n in range(3)}}
        )


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(1, 9), st.integers(1, 40)), min_size=1),
    st.sampled_from([0, 1, 5, 16]),
)
def test_each_dataset_is_repeated_exactly_as_asked(asked: dict[str, tuple[int, int]], batch: int) -> None:
    datasets = {name: refs(name, size) for name, (_, size) in asked.items()}
    weights, count = repeated(datasets, {name: times for name, (times, _) in asked.items()})
    drawn = Counter(ref.key for ref in mix(datasets, weights, 1, 0, count, batch))
    assert all(drawn[ref.key] == asked[name][0] for name, found in datasets.items() for ref in found)


def test_the_order_is_the_same_on_every_machine() -> None:
    """Digests made once: a change here changes what every run trains on."""
    datasets = {"a": refs("a", 70), "b": refs("b", 33), "c": refs("c", 5)}
    weights = {"a": 5, "b": 2.5, "c": 0.3}

    def digest(batch: int) -> str:
        orders = [[ref.key for ref in mix(datasets, weights, 7, epoch, 500, batch)] for epoch in range(3)]
        return hashlib.sha256(json.dumps(orders).encode()).hexdigest()

    assert digest(0) == "a76bd46f80540771ae14ea7e3e5d4283983b5e35545f1a9861e0b00a43e89f5e"
    assert digest(16) == "40ccaa5546ce15125aafd5e7fdf257d224b104d210c0c0ba87880e03fef57e80"


def test_the_worked_examples_of_strata() -> None:
    assert "".join(stratified({"a": 1, "b": 1}, 9, 3)) == "abaabbaab"
    assert "".join(spread({"a": 4, "b": 2})) == "abaaba"
    assert shares_of({"a": 0.1, "b": 0.2, "c": 0}) == {"a": Fraction(1, 3), "b": Fraction(2, 3)}


def test_a_mixer_refuses_test_rows_too() -> None:
    with pytest.raises(DataError, match="test sample"):
        Mixer({"a": refs("a", 2, "test")}, 0)
