"""Pages kept as brightness and halved colours are the pages in three channels, but for the halving."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.corruption.halved import HalvedPage, Planes, merge
from pipelines.corruption.marks import draw_boxes, marks
from pipelines.corruption.view import TextRegion, ViewRecipe, draw_view

RECIPE = ViewRecipe((0.6, 0.3, 0.1), (2, 4), 0.9, False, "boxes", "Read.", "{index}", "{text}")


def page(height: int, width: int) -> NDArray[np.uint8]:
    image = np.full((height, width, 1), 250, np.uint8)
    for row in range(6):
        image[22 + 45 * row : 36 + 45 * row, 43 : width - 60 : 3] = 20
    return image


def regions(width: int) -> list[TextRegion]:
    return [TextRegion((41, 20 + 45 * row, width - 57, 39 + 45 * row), f"text {row}", 14.0, 10.0) for row in range(6)]


def plain(pixels: NDArray[np.uint8]) -> tuple[NDArray, NDArray, NDArray]:
    """Y, and the means of Cb and Cr over squares of four, of an image repeated at its edges to an even size."""
    height, width = pixels.shape[:2]
    red, green, blue = np.moveaxis(pixels.astype(float), 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    halves = []
    for part, factor in ((blue, 0.564), (red, 0.713)):
        whole = np.pad(128 + factor * (part - luma), ((0, height % 2), (0, width % 2)), constant_values=128)
        halves.append((whole[0::2, 0::2] + whole[1::2, 0::2] + whole[0::2, 1::2] + whole[1::2, 1::2]) / 4)
    return luma, *halves


@pytest.mark.parametrize("size", [(320, 420), (321, 419)])
@pytest.mark.parametrize("seed", range(8))
def test_planes_are_those_of_the_page_in_three_channels(seed: int, size: tuple[int, int]) -> None:
    clean, found = page(*size), regions(size[1])
    whole = draw_view(clean, found, 60.0, RECIPE, np.random.default_rng(seed))
    drawn = draw_view(clean, found, 60.0, RECIPE, np.random.default_rng(seed), halved=True)
    assert (drawn.prompt, drawn.target, drawn.regions) == (whole.prompt, whole.target, whole.regions)
    assert isinstance(drawn.picture, Planes)
    for plane, wanted in zip(drawn.picture, plain(whole.image), strict=True):
        assert plane.dtype == np.uint8 and plane.shape == wanted.shape
        assert (np.abs(plane - wanted) > 1.5).mean() < 0.001, "only squares where several things meet may differ"
    np.testing.assert_array_equal(clean, page(*size))
    assert np.abs(drawn.image.astype(int) - whole.image)[:, :, 1].mean() < 2.0


def test_a_page_without_colour_stays_in_one_channel() -> None:
    recipe = replace(RECIPE, address="coordinates", weights=(0.0, 0.0, 1.0))
    whole = draw_view(page(320, 420), regions(420), 60.0, recipe, np.random.default_rng(3))
    drawn = draw_view(page(320, 420), regions(420), 60.0, recipe, np.random.default_rng(3), halved=True)
    np.testing.assert_array_equal(drawn.picture, whole.image)
    assert drawn.image.shape == (320, 420, 1)


def test_marks_lie_on_what_was_pasted_and_the_last_mark_on_top() -> None:
    boxes = [(40, 40, 101, 81), (44, 60, 140, 99)]  # the second number lies on the first frame
    tinted = np.full((41, 61, 3), (200, 120, 40), np.uint8)
    shown = np.full((160, 200, 3), 255, np.uint8)
    shown[40:81, 40:101] = tinted
    halved = HalvedPage(shown[:, :, :1].copy() | 255)
    halved.paste(40, 40, tinted)
    draw_boxes(shown, boxes)
    for x, y, cells in marks((160, 200), boxes):
        halved.mark(x, y, cells)
    picture = halved.picture()
    assert isinstance(picture, Planes)
    for plane, wanted in zip(picture, plain(shown), strict=True):
        assert (np.abs(plane - wanted) > 2).mean() < 0.005, "only squares where several things meet may differ"
    assert np.abs(merge(picture)[60, 70].astype(int) - tinted[0, 0]).max() <= 3
