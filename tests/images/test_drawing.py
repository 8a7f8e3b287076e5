"""Drawn text: the labels say what is there and where."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipelines.core.seeds import generator
from pipelines.images.drawing import draw_lines, draw_text, homography, texture
from pipelines.images.pages import lines_of
from pipelines.images.words import word_split


def area(quads: list, size: tuple[int, int], grown: int = 0) -> np.ndarray:
    mask = Image.new("L", size, 0)
    for quad in quads:
        ImageDraw.Draw(mask).polygon([tuple(corner) for corner in quad], fill=255, outline=255, width=1 + 2 * grown)
    return np.asarray(mask) > 0


@pytest.mark.parametrize("number", range(12))
def test_ink_lies_inside_the_boxes_and_every_box_has_ink(number: int) -> None:
    size = (400, 300)
    paper = Image.new("RGB", size, (128, 130, 126))
    drawn = draw_lines(generator("t", number), "train", paper, size, 6)
    changed = np.abs(np.asarray(drawn.image).astype(int) - np.asarray(paper)).max(2) > 40
    boxes = [line.quad for line in drawn.lines]
    assert not (changed & ~area(boxes, size, grown=1)).any()
    for line in drawn.lines:
        assert changed[area([line.quad], size)].mean() > 0.04, line.text
        assert all(0 <= x < size[0] and 0 <= y < size[1] for x, y in line.quad)
    tops = [min(y for _, y in quad) for quad in boxes]
    assert tops == sorted(tops)
    covered = sum(area([quad], size).astype(int) for quad in boxes)
    assert covered.max() == 1, "no line covers another"


def test_ink_can_be_told_from_what_is_behind_it() -> None:
    for number in range(8):
        busy = Image.fromarray(generator("busy", number).integers(0, 256, (240, 320, 3), dtype=np.uint8))
        drawn = draw_lines(generator("t", number), "train", busy, (320, 240), 3)
        grey = np.asarray(drawn.image.convert("L"), float)
        for line in drawn.lines:
            low, high = np.percentile(grey[area([line.quad], (320, 240))], (3, 97))
            assert high - low > 60


def test_the_same_seed_draws_the_same_and_a_small_background_grows() -> None:
    small = Image.new("RGB", (50, 40), "white")
    one, two = (draw_lines(generator("s", 5), "train", small, (300, 200), 4) for _ in range(2))
    assert one.lines == two.lines and one.image.tobytes() == two.image.tobytes()
    assert one.image.size == (300, 200)
    assert texture(generator("x", 1), (90, 60)).size == (90, 60)


def test_words_of_the_test_split_are_held_out() -> None:
    for split in ("train", "test"):
        rng = generator("words", split)
        words = [word for _ in range(200) for word in draw_text(rng, split).replace(":", " ").replace(".", " ").split()]
        letters = {word.lower() for word in words if word.isalpha()}
        assert len(letters) > 100
        assert {word_split(word) for word in letters} == {split}


def test_a_homography_takes_corners_to_corners() -> None:
    quad = ((10.0, 12.0), (90.0, 8.0), (95.0, 40.0), (8.0, 44.0))
    a, b, c, d, e, f, g, h = homography(quad, (80, 30))
    found = [((a * x + b * y + c) / (g * x + h * y + 1), (d * x + e * y + f) / (g * x + h * y + 1)) for x, y in quad]
    assert np.allclose(found, [(0, 0), (80, 0), (80, 30), (0, 30)])


def test_words_of_one_height_are_a_line() -> None:
    words = [["a", 0, 0, 9, 10], ["b", 12, 1, 20, 10], ["far", 90, 0, 99, 10], ["c", 0, 20, 9, 30]]
    lines = lines_of(words)
    assert [line.text for line in lines] == ["a b", "far", "c"]
    assert lines[0].quad == ((0, 0), (20, 0), (20, 10), (0, 10))
