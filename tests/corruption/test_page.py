from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corruption.arrays import paper_colour
from pipelines.corruption.operators import COUNTS, LEVELS, OPERATORS, RANGES, Level
from pipelines.corruption.page import Region, corrupt_crop, corrupt_page
from pipelines.corruption.view import draw_levels


def page(seed: int = 0) -> np.ndarray:
    image = np.full((112, 224, 3), 235, np.uint8)
    rng = np.random.default_rng(seed)
    for row in range(4):
        image[28 * row + 6 : 28 * row + 22, 10:180] = rng.integers(0, 200, (16, 170, 1))
    return image


REGIONS = tuple(Region((6, 28 * i + 2, 190, 28 * i + 26), level, 16.0) for i, level in enumerate((*LEVELS, "low")))


def test_only_pixels_inside_the_boxes_change_and_the_input_is_left_alone() -> None:
    image = page()
    outside = np.ones(image.shape[:2], dtype=bool)
    for region in REGIONS[:3]:
        x0, y0, x1, y1 = region.bbox
        outside[y0:y1, x0:x1] = False
    damaged, records = corrupt_page(image, REGIONS[:3], np.random.default_rng(1))
    np.testing.assert_array_equal(damaged[outside], image[outside])
    np.testing.assert_array_equal(image, page())
    assert [record["level"] for record in records] == ["low", "moderate", "high"]
    assert all(record["operators"] for record in records)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_nothing_of_a_high_regions_ink_remains(seed: int) -> None:
    """Two pages with other ink and the same paper give the same high region, byte for byte."""
    region = [Region((6, 30, 190, 54), "high", 16.0)]
    first, _ = corrupt_page(page(1), region, np.random.default_rng(seed))
    second, _ = corrupt_page(page(2), region, np.random.default_rng(seed))
    np.testing.assert_array_equal(first[30:54, 6:190], second[30:54, 6:190])


def test_same_generator_same_bytes_other_generator_other_bytes() -> None:
    one, two, three = (corrupt_page(page(), REGIONS, np.random.default_rng(seed))[0] for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()


def test_a_region_does_not_depend_on_how_the_others_were_damaged() -> None:
    harder = (Region(REGIONS[0].bbox, "moderate", 16.0), *REGIONS[1:])
    one, _ = corrupt_page(page(), REGIONS, np.random.default_rng(9))
    two, _ = corrupt_page(page(), harder, np.random.default_rng(9))
    np.testing.assert_array_equal(one[28:], two[28:])


@pytest.mark.parametrize("bbox", [(-1, 0, 10, 10), (0, 0, 225, 10), (10, 10, 10, 20), (0, 100, 10, 113)])
def test_a_box_outside_the_page_is_an_error(bbox: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="does not lie in an image of 224 x 112"):
        corrupt_page(page(), [Region(bbox, "low", 10.0)], np.random.default_rng(0))


def test_levels_follow_their_weights() -> None:
    drawn = draw_levels(20_000, (0.4, 0.3, 0.3), np.random.default_rng(0))
    assert [drawn.count(level) / 20_000 for level in LEVELS] == pytest.approx([0.4, 0.3, 0.3], abs=0.015)


@given(
    count=st.integers(1, 4), seed=st.integers(0, 10_000), weights=st.sampled_from([(0.4, 0.3, 0.3), (0.0, 0.0, 1.0)])
)
def test_a_card_is_never_hidden_as_a_whole(count: int, seed: int, weights: tuple[float, float, float]) -> None:
    levels = draw_levels(count, weights, np.random.default_rng(seed), keep_visible=True)
    assert len(levels) == count
    assert any(level != "high" for level in levels)


def test_weights_that_are_no_distribution_are_refused() -> None:
    with pytest.raises(ValueError, match="weights"):
        draw_levels(1, (0.0, 0.0, 0.0), np.random.default_rng(0))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(12))
def test_grey_text_gets_the_bytes_of_three_channels(level: Level, seed: int) -> None:
    rng = np.random.default_rng(seed)
    crop = np.full((40 + seed, 150, 3), 250, np.uint8)
    crop[8:30:3, 4:140:2] = rng.integers(0, 120)
    made, record = corrupt_crop(crop, level, 14.0, np.random.default_rng(seed))
    coloured = crop.copy()
    coloured[-1, -1, 2] -= 1  # one pixel that is not grey, away from what the median of the border sees
    again, same = corrupt_crop(coloured, level, 14.0, np.random.default_rng(seed))
    assert record == same
    plain, draws = crop.astype(np.float32), np.random.default_rng(seed)
    least, most = COUNTS[level]
    count = least if least == most else int(draws.integers(least, most + 1))
    names = list(RANGES[level])
    for index in sorted(draws.permutation(len(names))[:count].tolist()):
        strength = float(draws.uniform(*RANGES[level][names[index]]))
        plain = OPERATORS[names[index]](plain, paper_colour(crop), 14.0, strength, draws)
    np.testing.assert_array_equal(made, np.clip(np.rint(plain), 0, 255).astype(np.uint8))
    assert again.shape == made.shape == crop.shape
