"""Scores against values worked out by hand, and properties that hold for all strings."""

import math
import random

import pytest

from model.evaluation.metrics import (
    Reading,
    answer_of,
    compare_text,
    edit_distance,
    error_rate,
    judge,
    paired_bootstrap,
    parse_lines,
)


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [
        ("", "", 0),
        ("abc", "", 3),
        ("cart", "cat", 1),
        ("kitten", "sitting", 3),
        ("intention", "execution", 5),
        ("ab", "ba", 2),
    ],
)
def test_edit_distance_of_known_pairs(a, b, edits):
    assert edit_distance(a, b) == edit_distance(b, a) == edits


def test_edit_distance_is_a_metric():
    draw = random.Random(0)
    words = ["".join(draw.choices("abc", k=draw.randint(0, 7))) for _ in range(30)]
    for a, b, c in zip(words, words[1:], words[2:], strict=False):
        assert (edit_distance(a, b) == 0) == (a == b)
        assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
        assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


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
    ],
)
def test_the_answer_is_what_follows_the_thought(text, mode, expected):
    assert answer_of(text, mode) == expected


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


def test_the_bootstrap_of_a_constant_gain_has_no_width():
    gain = paired_bootstrap([0.0] * 50, [[0.25] * 50] * 3, draws=1000)
    assert [gain.mean, gain.lower, gain.upper] == pytest.approx([0.25] * 3)
    assert (gain.items, gain.seeds) == (50, 3)


def test_the_bootstrap_agrees_with_the_normal_interval_for_one_seed():
    draw = random.Random(1)
    before = [float(draw.random() < 0.4) for _ in range(400)]
    after = [float(draw.random() < 0.6) for _ in range(400)]
    gain = paired_bootstrap(before, [after])
    difference = [a - b for a, b in zip(after, before, strict=True)]
    mean = sum(difference) / 400
    error = math.sqrt(sum((d - mean) ** 2 for d in difference) / 400 / 400)
    assert gain.mean == pytest.approx(mean)
    assert gain.lower == pytest.approx(mean - 1.96 * error, abs=0.01)
    assert gain.upper == pytest.approx(mean + 1.96 * error, abs=0.01)


def test_seeds_that_disagree_widen_the_interval():
    before, up, down = [0.0] * 200, [0.5] * 200, [-0.2] * 200
    assert paired_bootstrap(before, [up, up, up]).lower == pytest.approx(0.5)
    mixed = paired_bootstrap(before, [up, up, down])
    assert mixed.mean == pytest.approx(0.8 / 3)
    assert mixed.lower == pytest.approx(-0.2)


def test_the_bootstrap_repeats_itself_and_refuses_ragged_rows():
    assert paired_bootstrap([0, 1, 0], [[1, 1, 0]], 1000, seed=4) == paired_bootstrap(
        [0, 1, 0], [[1, 1, 0]], 1000, seed=4
    )
    with pytest.raises(ValueError, match="equal items"):
        paired_bootstrap([0.0], [[0.0, 1.0]])
