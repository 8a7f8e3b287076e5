"""Scores against values worked out by hand, and properties that hold for all strings."""

import math
import random

import pytest

from model.answers import parse_answer
from model.evaluation.metrics import (
    Reading,
    compare_text,
    error_rate,
    judge,
    normalise,
    parse_lines,
)


def plain_distance(a: str, b: str) -> int:
    """Levenshtein distance in code points, as Wagner and Fischer (1974) write it: the oracle."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        above, row = row, [i]
        for j, right in enumerate(b, 1):
            row.append(min(above[j - 1] + (left != right), above[j] + 1, row[j - 1] + 1))
    return row[-1]


@pytest.mark.parametrize(
    ("prediction", "truth", "edits"),
    [("", "abc", 3), ("cart", "cat", 1), ("sitting", "kitten", 3), ("intention", "execution", 5), ("ab", "ba", 2)],
)
def test_edits_of_known_pairs(prediction, truth, edits):
    assert compare_text(prediction, truth).edits == plain_distance(prediction, truth) == edits


@pytest.mark.parametrize("alphabet", ["ab", "abc d", "a\u00e9\u0301\u4e2d\U0001f98a\ud800"])
def test_edits_are_those_of_the_plain_definition(alphabet):
    draw = random.Random(0)
    for length in (3, 12, 70, 200):  # short ones, and beyond the 64 code points of one machine word
        for _ in range(40 if length < 70 else 8):
            truth, said = ("".join(draw.choices(alphabet, k=draw.randint(0, length))) for _ in range(2))
            if normalise(truth):
                expected = Reading(plain_distance(normalise(said), normalise(truth)), len(normalise(truth)))
                assert compare_text(said, truth) == expected


def test_text_is_compared_after_nfc_and_blanks():
    assert compare_text("cafe\u0301  au", "caf\u00e9 au ") == Reading(0, 7)
    with pytest.raises(ValueError, match="empty"):
        compare_text("a", "  ")


def test_the_rate_is_pooled_over_characters_and_charges_for_rambling():
    readings = [Reading(1, 10), Reading(8, 2)]
    assert error_rate(readings) == pytest.approx(9 / 12)
    assert error_rate(readings, capped=True) == pytest.approx(3 / 12)
    assert math.isnan(error_rate([]))


def test_numbered_lines_are_found_and_the_first_of_a_number_counts():
    assert parse_lines("1: red fox\n 2 :17\nnoise\n1: again\n10: x: y\n3:") == {
        1: "red fox",
        2: "17",
        10: "x: y",
        3: "",
    }


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("42", "short", ("", "42")),
        ("7 + 8 = 15\n</think>\n\n15", "long", ("7 + 8 = 15", "15")),
        ("7 + 8 = 15", "long", ("7 + 8 = 15", None)),
        ("<think>hm</think>15", "short", ("", None)),
        ("7\n</think>\n\n15</think>16", "long", ("7", None)),
    ],
)
def test_the_answer_is_what_follows_the_thought(text, mode, expected):
    assert parse_answer(text, mode, finished=True) == expected


@pytest.mark.parametrize(
    ("answer", "truth", "verifier", "verdict"),
    [
        ("Red  fox", "Red fox", "exact", "correct"),
        ("red fox", "Red fox", "exact", "wrong"),
        ("07", "7", "number", "correct"),
        ("-3.0", "-3", "number", "correct"),
        ("8", "7", "number", "wrong"),
        ("7 words", "7", "number", "format"),
        ("", "7", "number", "format"),
        (None, "7", "exact", "format"),
    ],
)
def test_verdicts(answer, truth, verifier, verdict):
    assert judge(answer, truth, verifier) == verdict


def test_an_unknown_verifier_is_an_error():
    with pytest.raises(ValueError, match="regex"):
        judge("a", "a", "regex")
