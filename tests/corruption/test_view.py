"""The whole draw of a page: only chosen boxes change, the ways of naming regions, and the online form draws the same."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corruption.arrays import coloured
from pipelines.corruption.operators import COLOURED
from pipelines.corruption.view import Address, TextRegion, ViewRecipe, draw_view, online_record, redraw

RECIPE = ViewRecipe(
    (0.4, 0.3, 0.3), (1, 4), 0.8, False, "coordinates", "Read:\n{boxes}", "{index}: {x0} {y0} {x1} {y1}", "{text}"
)


def page() -> np.ndarray:
    image = np.full((400, 600, 3), 245, np.uint8)
    for row in range(8):
        image[22 + 45 * row : 36 + 45 * row, 42:360:3] = 20
    return image


def regions() -> list[TextRegion]:
    return [TextRegion((40, 20 + 45 * row, 362, 38 + 45 * row), f"text {row}", 14.0, 10.0) for row in range(8)]


@settings(deadline=None)  # a busy machine is not a slow function
@given(seed=st.integers(0, 2**32))
def test_only_the_chosen_boxes_change_and_nothing_of_high_ink_remains(seed: int) -> None:
    clean = page()
    drawn = draw_view(clean, regions(), 80.0, RECIPE, np.random.default_rng(seed))
    np.testing.assert_array_equal(clean, page())
    outside = np.ones(clean.shape[:2], dtype=bool)
    for region in drawn.regions:
        x0, y0, x1, y1 = region["bbox"]
        outside[y0:y1, x0:x1] = False
        if region["level"] == "high":
            inked = clean.copy()
            inked[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = 245  # the same box without any ink gives the same pixels
            again = draw_view(inked, regions(), 80.0, RECIPE, np.random.default_rng(seed))
            np.testing.assert_array_equal(again.image[y0:y1, x0:x1], drawn.image[y0:y1, x0:x1])
    np.testing.assert_array_equal(drawn.image[outside], clean[outside])


@pytest.mark.parametrize("address", ["boxes", "coordinates"])
@pytest.mark.parametrize("seed", range(12))
def test_a_grey_page_gets_the_damage_of_one_in_three_channels(seed: int, address: Address) -> None:
    recipe = replace(RECIPE, address=address, prompt="Read." if address == "boxes" else RECIPE.prompt)
    wanted = draw_view(page(), regions(), 80.0, recipe, np.random.default_rng(seed))
    drawn = draw_view(page()[:, :, :1], regions(), 80.0, recipe, np.random.default_rng(seed))
    assert (drawn.prompt, drawn.target, drawn.regions) == (wanted.prompt, wanted.target, wanted.regions)
    np.testing.assert_array_equal(coloured(drawn.image), wanted.image)
    damages = {one["name"] for region in drawn.regions for one in region["operators"]}
    assert drawn.image.shape[2] == (3 if address == "boxes" or damages & set(COLOURED) else 1)


def test_coordinates_are_thousandths_of_the_page_in_the_order_of_the_answer() -> None:
    drawn = draw_view(page(), regions(), 80.0, RECIPE, np.random.default_rng(5))
    lines = drawn.prompt.splitlines()[1:]
    assert len(lines) == len(drawn.regions) > 1
    for line, region in zip(lines, drawn.regions, strict=True):
        index, x0, y0, x1, y1 = (int(part) for part in line.replace(":", "").split())
        assert index == region["index"]
        left, top, right, bottom = region["bbox"]
        assert x0 <= left / 600 * 1000 < x0 + 1 and y0 <= top / 400 * 1000 < y0 + 1
        assert abs(x1 - right / 600 * 1000) <= 1 and abs(y1 - bottom / 400 * 1000) <= 1
    assert drawn.target == "\n".join(region["text"] for region in drawn.regions)


def test_a_single_region_is_framed_without_a_number() -> None:
    single = replace(RECIPE, address="single", prompt="Read the text in the box.")
    boxes = replace(RECIPE, address="boxes", prompt="Read.", count=(1, 1))
    one = draw_view(page(), regions(), 80.0, single, np.random.default_rng(3))
    numbered = draw_view(page(), regions(), 80.0, boxes, np.random.default_rng(3))
    assert len(one.regions) == 1
    assert one.prompt == "Read the text in the box."
    assert one.regions == numbered.regions
    assert (one.image != numbered.image).any(), "the number is missing"


@pytest.mark.parametrize("address", ["boxes", "single", "coordinates"])
def test_a_page_stored_clean_is_drawn_by_the_same_function(address: str) -> None:
    recipe = replace(RECIPE, address=address)  # type: ignore[arg-type]
    stored = json.loads(json.dumps(online_record(regions(), 80.0, recipe)))
    for seed in range(5):
        expected = draw_view(page(), regions(), 80.0, recipe, np.random.default_rng(seed))
        got = redraw(page(), stored, np.random.default_rng(seed))
        np.testing.assert_array_equal(got.image, expected.image)
        assert (got.prompt, got.target, got.regions) == (expected.prompt, expected.target, expected.regions)
    first, second = (redraw(page(), stored, np.random.default_rng(seed)) for seed in (0, 1))
    assert first.regions != second.regions
