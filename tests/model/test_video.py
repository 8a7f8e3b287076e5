"""Frame sampling and ticks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.video import check_ticks, group_ticks, plan_frames, tick_of
from pipelines.core.errors import DataError


def test_every_released_sampling_case(golden):
    cases = golden.json("video_sampling/cases.json")
    assert len(cases) == 60
    for case in cases:
        plan = plan_frames(
            case["num_frames_in_file"],
            case["native_fps"],
            case["duration"],
            case["choose_fps"],
            max_packing=case["max_num_packing"],
            force_packing=case["force_packing"],
        )
        assert list(plan.frames) == case["frame_idx"]
        assert (plan.packing, len(plan.packages)) == (case["packing"], case["packages"])
        ticks = list(case["demo_ticks"])  # truncated; rounded_differs holds the corrections
        for position, delta in case["rounded_differs"]:
            ticks[position] += delta
        ties = set(case["exact_tie_at"])
        assert [t for i, t in enumerate(ticks) if i not in ties] == [
            t for i, t in enumerate(plan.ticks) if i not in ties
        ]


@given(st.integers(1, 2000), st.floats(1, 60), st.floats(0.5, 30), st.integers(1, 6))
def test_plans_are_ordered_and_within_bounds(count, native, fps, packing):
    duration = count / native
    try:
        plan = plan_frames(count, native, duration, fps, max_packing=packing)
    except DataError:
        return
    assert list(plan.frames) == sorted(plan.frames)
    assert 0 <= plan.frames[0] <= plan.frames[-1] < count
    assert list(plan.ticks) == sorted(plan.ticks)
    # The released test cuts the duration to whole seconds, so the last fraction of one may add frames to the 180.
    assert len(plan.frames) <= 180 * packing + fps
    assert len(plan.packages) <= 180 + fps


def test_ticks_are_rounded_not_cut():
    assert [tick_of(t) for t in (0.0, 0.049, 0.05, 4.3, 8.1, 9.1)] == [0, 0, 1, 43, 81, 91]
    assert group_ticks((0, 3, 7), 2) == ((0, 3), (7,))


@pytest.mark.parametrize(
    ("ticks", "frames", "packages", "message"),
    [
        ((), 0, 0, "no frames"),
        ((0, 1), 3, 1, "3 frames but 2 ticks"),
        ((0, 5, 4), 3, 1, "must rise"),
        ((-1, 5), 2, 1, "must rise"),
        (tuple(range(9)), 9, 9, "9 packages, but the model takes 8"),
    ],
)
def test_bad_ticks_are_refused(ticks, frames, packages, message):
    with pytest.raises(DataError, match=message):
        check_ticks(ticks, frames, packages, 8)


@pytest.mark.parametrize(("count", "duration"), [(0, 1.0), (30, 0.0), (1, 0.01)])
def test_clips_too_short_are_refused(count, duration):
    with pytest.raises(DataError):
        plan_frames(count, 30.0, duration)
