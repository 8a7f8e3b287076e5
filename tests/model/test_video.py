"""Packages of frames and their ticks."""

from __future__ import annotations

import pytest

from model.video import check_ticks, group_ticks
from pipelines.core.errors import DataError


def test_packages_follow_each_other_and_the_last_may_be_shorter():
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
