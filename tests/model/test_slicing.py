"""Slicing arithmetic against the released tables, and its invariants."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import SliceConfig
from model.slicing import best_grid, plan_views, snap

COLUMNS = (
    "grid_cols grid_rows thumb_w thumb_h thumb_rows thumb_cols refined_w refined_h slice_rows slice_cols visual_tokens"
)


@pytest.mark.parametrize("table", ["slicing", "slicing_other_settings"])
def test_equals_every_row_of_the_released_tables(golden, table):
    rows = list(csv.DictReader(io.StringIO(golden.bytes(f"slicing/{table}.csv").decode())))
    assert len(rows) in (400, 160)
    for text_row in rows:
        row = {name: int(value) for name, value in text_row.items()}
        settings = SliceConfig(
            scale_resolution=row.get("scale_resolution", 448), max_slice_nums=row.get("max_slice_nums", 9)
        )
        plan = plan_views(row["width"], row["height"], settings)
        cell = plan.slice or (0, 0)
        got = (
            *(plan.grid or (0, 0)),
            *plan.thumbnail,
            plan.thumbnail[1] // 14,
            plan.thumbnail[0] // 14,
            *(plan.refined or (0, 0)),
            cell[1] // 14,
            cell[0] // 14,
            64 * (1 + len(plan.boxes)),
        )
        assert got == tuple(row[name] for name in COLUMNS.split()), row


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 12), st.sampled_from([112, 160, 448]))
def test_views_are_whole_patches_and_within_the_limit(width, height, limit, side):
    settings = SliceConfig(scale_resolution=side, max_slice_nums=limit)
    plan = plan_views(width, height, settings)
    assert 1 <= (1 + len(plan.boxes)) <= limit + 1
    assert plan.thumbnail[0] % 14 == 0
    assert plan.thumbnail[1] % 14 == 0
    if plan.grid is not None:
        assert plan.slice is not None
        assert all(length % 14 == 0 for length in plan.slice)
        # The boxes tile the refined picture exactly.
        assert sum((r - x) * (b - y) for x, y, r, b in plan.boxes) == plan.refined[0] * plan.refined[1]


def test_ties_go_to_the_even_multiple_and_never_to_zero():
    assert (snap(21, 14), snap(35, 14), snap(3, 14)) == (28, 28, 14)


def test_a_card_is_one_view_of_8_by_16_patches():
    settings = SliceConfig(scale_resolution=160, max_slice_nums=1)
    plan = plan_views(224, 112, settings)
    assert (plan.thumbnail, plan.grid) == ((224, 112), None)


def test_no_slicing_below_two_slices():
    assert best_grid(5000, 5000, SliceConfig(max_slice_nums=1)) is None


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-1, 5)])
def test_an_empty_picture_is_an_error(size):
    with pytest.raises(ValueError, match="no views"):
        plan_views(*size, SliceConfig())
