from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.media.sampling import Chooser, Keeper, rate_for, tick_of, uniform_indices


def test_indices_and_ticks_of_the_released_sampler(golden_cases: Path) -> None:
    cases = json.loads(golden_cases.read_text())
    frames = 0
    for case in cases:
        indices = uniform_indices(case["num_frames_in_file"], case["frames"])
        expected = list(case["demo_ticks"])
        for position, delta in case["rounded_differs"]:
            expected[position] += delta
        rate = Fraction(case["native_fps"])
        found = [min(tick_of(frame / rate), case["scale_length"] - 1) for frame in case["frame_idx"]]
        ties = set(case["exact_tie_at"])
        assert indices == case["frame_idx"]
        assert [a for i, a in enumerate(found) if i not in ties] == [b for i, b in enumerate(expected) if i not in ties]
        assert all(abs(found[i] - expected[i]) <= 1 for i in ties)
        frames += len(found)
    assert (len(cases), frames) == (60, 7448)


@pytest.mark.parametrize(
    ("seconds", "tick"),
    [("0", 0), ("1/20", 1), ("49/1000", 0), ("43/10", 43), ("81/10", 81), ("149/1000", 1), ("3/20", 2)],
)
def test_ticks_round_half_up_exactly(seconds: str, tick: int) -> None:
    assert tick_of(Fraction(seconds)) == tick


def sample_times(times: list[Fraction], fps: float, most: int, duration: Fraction | None = None) -> list[int]:
    """Indices of the frames kept out of presentation times (seconds, any start)."""
    keeper: Keeper[int] = Keeper(fps, most, duration)
    for index, seconds in enumerate(times):
        if keeper.wants(seconds):
            keeper.keep(index)
    return [index for index, _ in keeper.kept()]


def times(count: int, rate: Fraction, start: Fraction = Fraction(0)) -> list[Fraction]:
    return [start + Fraction(i) / rate for i in range(count)]


def test_the_worked_example_of_the_docstring() -> None:
    assert sample_times(times(5, Fraction(4)), 2, 100) == [0, 2, 4]


@given(
    st.lists(st.fractions(0, 30, max_denominator=1000), min_size=1, max_size=300),
    st.sampled_from([0.5, 1, 2, 5, 10, 60]),
    st.integers(1, 40),
    st.one_of(st.none(), st.fractions(Fraction(1, 100), 60, max_denominator=100)),
)
def test_any_times_give_growing_ticks_and_never_too_many(
    stamps: list[Fraction], fps: float, most: int, claimed: Fraction | None
) -> None:
    stamps = sorted(stamps)
    kept = sample_times(stamps, fps, most, claimed)
    found = [tick_of(stamps[index] - stamps[0]) for index in kept]
    assert 1 <= len(kept) <= most
    assert found == sorted(set(found))
    if len(stamps) <= most:
        assert kept[0] == 0


@given(
    st.integers(10, 600),
    st.sampled_from([Fraction(30000, 1001), Fraction(25), Fraction(24), Fraction(15), Fraction(60)]),
)
def test_constant_rates_give_one_frame_a_slot(count: int, rate: Fraction) -> None:
    stamps = times(count, rate, start=Fraction(7, 5))
    kept = sample_times(stamps, 5, 10_000)
    slots = [int((stamps[index] - stamps[0]) * 5) for index in kept]
    assert slots == list(range(int((stamps[-1] - stamps[0]) * 5) + 1))


def test_a_container_that_lies_about_its_duration_still_gives_a_spread() -> None:
    stamps = times(3000, Fraction(30))  # 100 s
    for claimed in (None, Fraction(1), Fraction(10_000), Fraction(100)):
        kept = sample_times(stamps, 10, 20, claimed)
        assert len(kept) <= 20
        if claimed != 10_000:
            assert len(kept) >= 10
            assert kept[-1] > 2600


def test_gaps_of_a_variable_rate_stay_gaps() -> None:
    stamps = [Fraction(0), Fraction(1, 10), Fraction(3), Fraction(31, 10)]
    assert sample_times(stamps, 2, 100) == [0, 2]


def test_frames_that_come_late_are_left_out() -> None:
    chooser = Chooser(Fraction(10))
    assert [chooser.take(Fraction(t, 10)) for t in (0, 2, 1, 2, 3)] == [True, True, False, False, True]


def test_rates_are_bounded() -> None:
    assert rate_for(60, 1000, None) == 10
    assert rate_for(5, 100, Fraction(200)) == Fraction(1, 2)
    with pytest.raises(ValueError, match="rate"):
        Chooser(Fraction(11))
