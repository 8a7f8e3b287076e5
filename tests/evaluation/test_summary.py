"""Figures and bars: what is reached is shown, what is not is said with its reason."""

import json

import pyarrow.parquet as pq
import pytest

from model.evaluation.predictions import AnswerRow, RegionRow, read_rows, write_rows, write_table
from model.evaluation.report import Picture, marked, render_report
from model.evaluation.summary import bars, flat_metrics, printed, question_figures, reading_figures


def region(key="k", picture="right", level="low", edits=1, length=10, **more) -> RegionRow:
    given = {"key": key, "picture": picture, "level": level, "edits": edits, "length": length}
    fixed = {"model": "sft", "picture_key": key, "region": 1, "completion_tokens": 5, "finished": True}
    return RegionRow(**{"truth": "a" * length, "prediction": "a", **fixed, **given, **more})


def answer(key, mode, model, verdict) -> AnswerRow:
    return AnswerRow(model, mode, key, key, "add", "number", "What is the sum?", "7", "7", "", verdict, 4, True)


def regions(n=500, cer=0.4, wrong=0.9):
    rows = [region(f"k{i}", edits=round(cer * 10), forced_nll=5.0, forced_correct=8, forced_chars=10) for i in range(n)]
    return rows + [region(f"k{i}", picture="wrong", edits=round(wrong * 10)) for i in range(n)]


def answers(items=400, seeds=3, before=0.3, after=0.5, spread=1):
    rows = []
    for mode in ("short", "long"):
        for i in range(items):
            rows.append(answer(f"{mode}{i}", mode, "sft", "correct" if i < before * items else "wrong"))
            for seed in range(seeds):  # each seed gets one item more right than the one before it
                verdict = "correct" if i < after * items + spread * seed else "format"
                rows.append(answer(f"{mode}{i}", mode, f"rl-seed-{seed}", verdict))
    return rows


def test_reading_figures_by_hand():
    rows = [
        region(edits=1, length=10, forced_nll=3.0, forced_correct=9, forced_chars=10),
        region(edits=6, length=2, prediction=None),
        region(picture="wrong", edits=30, length=10),
        region(level="high", edits=0, length=4),
    ]
    low = reading_figures(rows)["low"]
    assert low["regions"] == 2
    assert low["cer"] == pytest.approx(7 / 12)
    assert low["cer_capped"] == pytest.approx(3 / 12)
    assert low["cer_wrong"] == 1.0
    assert low["difference"] == pytest.approx(1 - 7 / 12)
    assert low["missing"] == 0.5
    assert low["forced_accuracy"] == 0.9
    assert low["forced_nll"] == pytest.approx(0.3)
    assert "moderate" not in reading_figures(rows)
    assert reading_figures(rows)["all"]["regions"] == 3


def test_all_bars_are_shown_when_reached():
    figures, asked = reading_figures(regions()), question_figures(answers(), 1000, 0)
    held = bars(figures, asked)
    assert [bar["shown"] for bar in held] == [True] * 4
    metrics = flat_metrics(figures, asked, held)
    assert metrics["eval/cer/low"] == pytest.approx(0.4)
    assert metrics["eval/accuracy/short/rl"] == pytest.approx(0.5025)
    assert metrics["eval/gain/long"] == pytest.approx(0.2025)
    assert asked["long"]["gain"]["by_seed"] == pytest.approx({f"rl-seed-{i}": 0.2 + i / 400 for i in range(3)})
    half = 4.302653 * (1 / 400) / 3**0.5
    assert metrics["eval/gain_lower/long"] == pytest.approx(0.2025 - half)
    assert metrics["eval/gain_upper/long"] == pytest.approx(0.2025 + half)
    assert metrics["eval/gain_items_lower/long"] < 0.2 - half, "400 items tell less than three seeds that agree"
    assert metrics["eval/bars_shown"] == metrics["eval/bars"] == 4.0


def gains(why):
    return dict.fromkeys(("gain_lower_short", "gain_lower_long"), why)


def readings(why):
    return dict.fromkeys(("cer_low", "cer_difference_low"), why)


@pytest.mark.parametrize(
    ("figures", "asked", "not_shown"),
    [
        (regions(cer=0.6), answers(), {"cer_low": "0.600 is not <= 0.5"}),
        (regions(wrong=0.6), answers(), {"cer_difference_low": "0.200 is not >= 0.3"}),
        (regions(n=499), answers(), readings("499 low regions, 500 are asked for")),
        (regions(), answers(items=399), gains("399 items, 400 are asked for")),
        (regions(cer=0.6, wrong=0.6), answers(), {"cer_low": "0.600 is not", "cer_difference_low": "0.00 is not"}),
        (regions(), answers(seeds=2), gains("2 seeds, 3 are asked for")),
        (regions(), answers(seeds=1), gains("one seed, which has no interval; 3 are asked for")),
        (regions(), answers(spread=0), gains("all 3 seeds gained the same")),
        (regions(), answers(after=0.3, spread=4), gains("-0.0148 is not > 0")),
        ([], [], {**readings("0 low regions"), **gains("0 items")}),
    ],
)  # fmt: skip
def test_what_is_not_reached_is_not_shown_with_its_reason(figures, asked, not_shown):
    held = bars(reading_figures(figures), question_figures(asked, 1000, 0))
    missed = {bar["name"]: bar["why"] for bar in held if not bar["shown"]}
    assert missed.keys() == not_shown.keys()
    assert all(not_shown[name] in why for name, why in missed.items())


@pytest.mark.parametrize(
    ("value", "sense", "limit", "text"),
    [
        (0.0004, ">", 0, "0.000400"),
        (-0.0004, ">", 0, "-0.000400"),
        (0.0, ">", 0, "0.00"),
        (0.3128, "<=", 0.5, "0.313"),
        (0.50004, "<=", 0.5, "0.50004"),
        (0.49996, "<=", 0.5, "0.500"),
        (0.29996, ">=", 0.3, "0.29996"),
        (0.1 + 0.2, "<=", 0.3, "0.30000000000000004"),
        (float("nan"), ">", 0, "-"),
    ],
)
def test_what_is_printed_lies_on_the_same_side_of_the_bar(value, sense, limit, text):
    assert printed(value, sense, limit) == text


def test_a_small_gain_is_printed_and_shown_alike():
    rows = answers(items=2000, before=0.3, after=0.304, spread=3)  # 0.004, 0.0055, 0.007: lower end 0.0018
    bar = bars(reading_figures(regions()), question_figures(rows, 1000, 0))[2]
    assert (bar["name"], bar["shown"], bar["printed"]) == ("gain_lower_short", True, "0.00177")


def test_the_gain_is_taken_over_items_that_all_models_answered():
    rows = [row for row in answers() if not (row.model == "rl-seed-2" and row.key == "short7")]
    assert question_figures(rows, 1000, 0)["short"]["gain"]["items"] == 399


def test_rows_survive_jsonl_and_parquet(tmp_path):
    rows = [region("a", prediction=None), region("b", forced_nll=0.5, forced_correct=1, forced_chars=2)]
    assert write_rows(tmp_path / "r.jsonl", rows) == 2
    assert read_rows(RegionRow, [tmp_path / "r.jsonl"]) == rows
    write_table(tmp_path / "r.parquet", RegionRow, rows)
    assert [RegionRow(**row) for row in pq.read_table(tmp_path / "r.parquet").to_pylist()] == rows
    write_table(tmp_path / "empty.parquet", AnswerRow, [])
    assert pq.read_table(tmp_path / "empty.parquet").column_names[0] == "model"


def test_the_page_stands_alone_and_escapes_what_models_say():
    reading = [region("k", truth="red <fox>", prediction="red <box>")]
    asked = [answer("q", "long", "sft", "wrong")]
    figures, answered = reading_figures(reading), question_figures(asked, 1000, 0)
    report = {"title": "t", "bars": bars(figures, answered), "reading": figures, "questions": answered, "notes": "n"}
    page = render_report(report, reading, asked, {"k": Picture(b"123"), "q": Picture(b"456", "image/png")})
    assert "data:image/jpeg;base64,MTIz" in page
    assert "data:image/png;base64,NDU2" in page
    assert "red &lt;<mark>b</mark>ox&gt;" in page
    assert "<fox>" not in page
    assert "not shown" in page
    assert "<script" not in page
    assert "http" not in page
    json.dumps(report["bars"], allow_nan=False)


def page_of(asked):
    figures, answered = reading_figures(regions()), question_figures(asked, 1000, 0)
    report = {"title": "t", "bars": bars(figures, answered), "reading": figures, "questions": answered, "notes": "n"}
    return render_report(report, [], asked, {})


def test_the_page_says_what_each_interval_is_about():
    page = page_of(answers(before=0.3, after=0.5))
    assert "<b>+0.196 to +0.209</b> for another seed of RL on these same items" in page
    assert "for other items like these and these very runs" in page
    assert "<div class=value>0.196<small> &gt; 0</small>" in page
    assert "<b>none</b> for another seed" in page_of(answers(seeds=1))


def test_missing_characters_are_marked_too():
    assert marked("re fox", "red fox") == "re<mark>·</mark> fox"
    assert marked(None, "x") == "<i>no line</i>"
