"""The quick forms of the ink check against their plain definitions, on random boxes of random pictures."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.documents.ink import MIN_CONTRAST, contrast, has_ink, ink_rows, ink_span, least_ink, paper_of


def picture(seed: int, colour: bool) -> np.ndarray:
    """Paper with strokes of ink: grey or coloured, some faint, near both ends of the scale."""
    rng = np.random.default_rng(seed)
    image = np.full((120, 200, 3), rng.integers(0, 256, 3 if colour else 1), dtype=np.uint8)
    for _ in range(60):
        y, x = int(rng.integers(0, 116)), int(rng.integers(0, 190))
        image[y : y + 3, x : x + int(rng.integers(2, 10))] = rng.integers(0, 256, 3 if colour else 1)
    return image


def counted(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    crop = image[y0:y1, x0:x1]
    return ink_rows(crop, paper_of(crop))


def plain_rows(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    crop = image[y0:y1, x0:x1].astype(int)
    border = np.sort(np.concatenate([crop[0], crop[-1], crop[:, 0], crop[:, -1]]), axis=0)
    return (np.abs(crop - border[len(border) // 2]) >= MIN_CONTRAST // 2).any(axis=2).sum(axis=1)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_rows_of_ink_are_those_of_the_definition(seed: int, colour: bool) -> None:
    image = picture(seed, colour)
    rng = np.random.default_rng(seed)
    for _ in range(80):
        x, y = int(rng.integers(0, 150)), int(rng.integers(0, 100))
        box = (x, y, x + int(rng.integers(2, 50)), y + int(rng.integers(2, 20)))
        wanted = plain_rows(image, box)
        np.testing.assert_array_equal(counted(image, box), wanted)
        assert least_ink(image, box) == int(np.argmin(wanted))
        found = np.flatnonzero(wanted)
        assert ink_span(image, box) == ((found[0], found[-1]) if len(found) else None)
        if not colour:
            one = np.ascontiguousarray(image[:, :, :1])
            np.testing.assert_array_equal(counted(one, box), wanted)
            assert (least_ink(one, box), ink_span(one, box)) == (least_ink(image, box), ink_span(image, box))


@pytest.mark.parametrize("colour", [False, True])
def test_contrast_reaches_the_limit_exactly_where_some_channel_does(colour: bool) -> None:
    image = picture(7, colour)
    rng = np.random.default_rng(7)
    corners = rng.uniform(0, (170, 100), (200, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, (28, 18), (200, 2))], axis=1).astype(np.float32)
    found = contrast(image, boxes)
    if not colour:
        np.testing.assert_array_equal(contrast(np.ascontiguousarray(image[:, :, :1]), boxes), found)
    for box, value in zip(boxes, found, strict=True):
        w, h = box[2] - box[0], box[3] - box[1]
        x0, y0 = int(np.floor(box[0] + np.float32(0.05) * w)), int(np.floor(box[1] + np.float32(0.05) * h))
        x1, y1 = int(np.ceil(box[2] - np.float32(0.05) * w)), int(np.ceil(box[3] - np.float32(0.05) * h))
        crop = image[y0:y1, x0:x1].astype(int)
        spread = max(int(np.ptp(crop[:, :, channel])) for channel in range(3))
        assert (value >= MIN_CONTRAST) == (spread >= MIN_CONTRAST)
        if spread < MIN_CONTRAST:
            assert value == spread


def test_contrast_of_boxes_off_the_page_is_minus_one() -> None:
    image = picture(1, True)
    boxes = np.array([[-50, 5, 20, 15], [190, 5, 240, 15], [5, 118, 30, 140], [5, 5, 5, 9]], dtype=np.float32)
    assert contrast(image, boxes).tolist() == [-1, -1, -1, -1]
    assert contrast(image, np.zeros((0, 4), dtype=np.float32)).shape == (0,)


@pytest.mark.parametrize("row", [0, 2, 64, 118])
def test_a_dot_of_ink_is_found_wherever_it_lies(row: int) -> None:
    image = np.full((120, 90, 3), 250, dtype=np.uint8)
    assert not has_ink(image)
    image[row, 40, 2] = 250 - MIN_CONTRAST + 1
    assert not has_ink(image)
    image[row, 40, 2] -= 1
    assert has_ink(image)
    assert not has_ink(np.full((1, 1, 3), 9, dtype=np.uint8))
