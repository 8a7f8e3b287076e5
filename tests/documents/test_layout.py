from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corruption.marks import COLOUR, draw_boxes
from pipelines.corruption.view import TextRegion, choose
from pipelines.documents.layout import Word, is_right_to_left, make_blocks, make_lines
from pipelines.documents.regions import clean_text, find_regions, tokens

H = 12.0


def place(text: str, x: float, y: float, advance: float = 7.0) -> list[Word]:
    """Words of a line typeset from (x, y) with a blank of one advance."""
    words = []
    for part in text.split():
        words.append(Word(part, (x, y, x + advance * len(part), y + H)))
        x += advance * (len(part) + 1)
    return words


def paragraph(lines: list[str], x: float, y: float, pitch: float = 14.0) -> list[Word]:
    return [word for row, line in enumerate(lines) for word in place(line, x, y + pitch * row)]


def texts(words: list[Word], width: float = 600) -> list[str]:
    return [block.text for block in make_blocks(make_lines(words, width))]


LEFT = ["alpha beta gamma delta", "epsilon zeta eta theta", "iota kappa"]
RIGHT = ["one two three four", "five six seven eight", "nine ten"]


def test_two_columns_are_read_one_after_the_other() -> None:
    words = paragraph(["Title over both columns of this page"], 60, 20)
    words += paragraph(LEFT, 50, 60) + paragraph(RIGHT, 300, 60)
    assert texts(words)[1:] == [" ".join(LEFT), " ".join(RIGHT)]


def test_the_order_of_the_file_does_not_matter() -> None:
    words = paragraph(LEFT, 50, 60) + paragraph(RIGHT, 300, 60)
    shuffled = [words[i] for i in np.random.default_rng(0).permutation(len(words))]
    assert texts(shuffled) == texts(words) == [" ".join(LEFT), " ".join(RIGHT)]


def test_a_wide_gap_between_lines_starts_a_paragraph() -> None:
    words = paragraph(LEFT, 50, 60) + paragraph(RIGHT, 50, 60 + 3 * 14 + 14)
    assert texts(words) == [" ".join(LEFT), " ".join(RIGHT)]


def test_table_rows_are_read_across() -> None:
    words = [
        w for row in range(3) for column in range(3) for w in place(f"c{row}{column}", 40 + 150 * column, 40 + 20 * row)
    ]
    assert texts(words) == ["c00 c01 c02 c10 c11 c12 c20 c21 c22"] or texts(words) == [
        "c00 c01 c02",
        "c10 c11 c12",
        "c20 c21 c22",
    ]


def test_cjk_words_are_joined_without_blanks() -> None:
    words = [Word("天地", (10, 10, 34, 22)), Word("玄黄", (35, 10, 59, 22)), Word("宇宙", (10, 26, 34, 38))]
    assert texts(words) == ["天地玄黄宇宙"]


def test_right_to_left_lines_come_in_logical_order() -> None:
    words = [
        Word("العربية", (300, 10, 350, 22)),
        Word("اللغة", (355, 10, 390, 22)),
        Word("one", (216, 10, 236, 22)),
        Word("two", (241, 10, 261, 22)),
        Word("مع", (270, 10, 290, 22)),
    ]
    assert texts(words) == ["اللغة العربية مع one two"]
    assert is_right_to_left("שלום world שלום עליכם")
    assert not is_right_to_left("plain")


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 700), st.integers(1, 9)), max_size=40))
def test_no_word_is_lost_or_doubled(boxes: list[tuple[int, int, int]]) -> None:
    words = [Word(f"w{i}", (x, y, x + 7 * n, y + H)) for i, (x, y, n) in enumerate(boxes)]
    lines = make_lines(words, 600)
    assert sorted(word.text for line in lines for word in line.words) == sorted(word.text for word in words)
    blocks = make_blocks(lines)
    assert sorted(word.text for block in blocks for line in block.lines for word in line.words) == sorted(
        word.text for word in words
    )


def inked(words: list[Word], size: tuple[int, int] = (400, 600)) -> np.ndarray:
    image = np.full((*size, 3), 255, np.uint8)
    for word in words:
        x0, y0, x1, y1 = (int(v) for v in word.box)
        image[y0 + 2 : y1 - 2, x0:x1:2] = 0
    return image


def test_long_paragraphs_are_split_and_short_ones_joined() -> None:
    long = [f"word{i} and more words follow here in line {i}" for i in range(12)]
    words = paragraph(["Short head"], 40, 20) + paragraph(long, 40, 40)
    regions = [one.region for one in find_regions(inked(words), words, (8, 60), by_line=False)]
    assert all(8 <= region.tokens <= 75 for region in regions)
    assert "Short head word0" in regions[0].text
    assert " ".join(region.text for region in regions) == " ".join(word.text for word in words)


def test_a_page_with_only_short_texts_keeps_them() -> None:
    words = paragraph(["tiny"], 40, 40)
    assert [one.region.text for one in find_regions(inked(words), words, (8, 200), by_line=False)] == ["tiny"]


def test_clean_text_keeps_what_ink_shows() -> None:
    assert clean_text("e\u0301te\u0301 \u00adsoft\u200b  two ") == "\u00e9t\u00e9 soft two"
    assert tokens("天地玄黄") == 4
    assert tokens("nine char") == pytest.approx(2.0)


def region(index: int, size: float, x: int = 0) -> TextRegion:
    return TextRegion((x, 20 * index, x + 100, 20 * index + 15), f"text {index}", 10.0, size)


@given(seed=st.integers(0, 1000), sizes=st.lists(st.floats(1, 200), min_size=1, max_size=20))
def test_choice_is_bounded_and_in_reading_order(seed: int, sizes: list[float]) -> None:
    regions = [region(i, size) for i, size in enumerate(sizes)]
    chosen = choose(regions, sum(sizes), (1, 6), 0.3, np.random.default_rng(seed))
    assert 1 <= len(chosen) <= 6
    assert len(chosen) == 1 or sum(one.tokens for one in chosen) <= 0.3 * sum(sizes) + 1e-6
    assert [regions.index(one) for one in chosen] == sorted(regions.index(one) for one in chosen)


def test_overlapping_regions_are_never_chosen_together() -> None:
    regions = [TextRegion((0, 0, 100, 20), "a", 10, 5), TextRegion((50, 10, 150, 30), "b", 10, 5)]
    for seed in range(20):
        assert len(choose(regions, 1000, (2, 2), 1.0, np.random.default_rng(seed))) == 1


def test_marks_stay_outside_their_regions() -> None:
    image = np.full((300, 400, 3), 255, np.uint8)
    boxes = [(60, 50, 200, 80), (60, 120, 200, 150)]
    page = draw_boxes(image.copy(), boxes)
    for x0, y0, x1, y1 in boxes:
        np.testing.assert_array_equal(page[y0:y1, x0:x1], 255)
        assert (page[y0:y1, x1 + 2] == COLOUR).all()
    assert draw_boxes(image, boxes) is image and (image == page).all()
    draw_boxes(image, [(0, 0, 400, 300)])
