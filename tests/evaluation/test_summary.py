"""Figures and bars: what is reached is shown, what is not is said with its reason."""

import base64
import json

import pyarrow.parquet as pq
import pytest

from cookhouse.pages.report import marked, render
from cookhouse.project import load_project
from model.evaluation.bars import hold, printed
from model.evaluation.questions import QuestionTask
from model.evaluation.reading import ReadingTask
from model.evaluation.rows import Row, read_rows, read_table, write_rows, write_table

READING = ReadingTask(("card",), 540, 0)
QUESTIONS = QuestionTask(700, 0, "sft", "rl", draws=1000)
PNG = b"\x89PNG456"


def region(key="k", picture="right", level="low", edits=1, length=10, prediction="a", truth="", **forced) -> Row:
    scores = {"edits": float(edits), "length": float(length), **forced}
    names = ("reading", "sft", picture, "documents", key, key, "1", level)
    return Row(*names, truth or "a" * length, prediction, 5, True, scores)


def answer(key, mode, model, verdict, dataset="questions") -> Row:
    about = {"question": "What is the sum?", "verdict": verdict, "verifier": "number", "thought": ""}
    names = ("questions", model, mode, dataset, key, key, key, "add")
    return Row(*names, "7", "7", 4, True, {"correct": float(verdict == "correct")}, about)


def reading_figures(rows):
    return READING.aggregate(rows)


def question_figures(rows):
    return QUESTIONS.aggregate(rows)


@pytest.fixture(scope="module")
def wanted():
    """The bars of the tiny recipe."""
    (step,) = [step for step in load_project(["recipe=tiny"]).steps if step.name == "evaluate"]
    return step.config.bars


def figures_of(reading, asked):
    return {"reading": reading_figures(reading), "questions": question_figures(asked)}


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


def test_all_bars_are_shown_when_reached(wanted):
    figures = figures_of(regions(), answers())
    asked = figures["questions"]
    held = hold(wanted, figures)
    assert [bar["shown"] for bar in held] == [True] * 4
    metrics = READING.metrics(figures["reading"]) | QUESTIONS.metrics(asked)
    assert metrics["eval/cer/low"] == pytest.approx(0.4)
    assert metrics["eval/accuracy/short/rl"] == pytest.approx(0.5025)
    assert metrics["eval/gain/long"] == pytest.approx(0.2025)
    assert asked["long"]["gain"]["by_seed"] == pytest.approx({f"rl-seed-{i}": 0.2 + i / 400 for i in range(3)})
    half = 4.302653 * (1 / 400) / 3**0.5
    assert metrics["eval/gain_lower/long"] == pytest.approx(0.2025 - half)
    assert metrics["eval/gain_upper/long"] == pytest.approx(0.2025 + half)
    assert metrics["eval/gain_items_lower/long"] < 0.2 - half, "400 items tell less than three seeds that agree"


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
def test_what_is_not_reached_is_not_shown_with_its_reason(figures, asked, not_shown, wanted):
    held = hold(wanted, figures_of(figures, asked))
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


def test_a_small_gain_is_printed_and_shown_alike(wanted):
    rows = answers(items=2000, before=0.3, after=0.304, spread=3)  # 0.004, 0.0055, 0.007: lower end 0.0018
    bar = hold(wanted, figures_of(regions(), rows))[2]
    assert (bar["name"], bar["shown"], bar["printed"]) == ("gain_lower_short", True, "0.00177")


def test_the_gain_is_taken_over_items_that_all_models_answered():
    rows = [row for row in answers() if not (row.model == "rl-seed-2" and row.key == "short7")]
    assert question_figures(rows)["short"]["gain"]["items"] == 399


def test_two_datasets_may_hold_the_same_key():
    rows = [answer("k", "short", model, "correct", dataset) for model in ("sft", "rl") for dataset in ("a", "b")]
    figures = question_figures(rows)["short"]
    assert figures["models"]["sft"]["items"] == figures["gain"]["items"] == 2


def test_rows_survive_jsonl_and_parquet(tmp_path):
    rows = [region("a", prediction=None), region("b", forced_nll=0.5, forced_correct=1.0, forced_chars=2.0)]
    assert write_rows(tmp_path / "r.jsonl", rows) == 2
    assert read_rows([tmp_path / "r.jsonl"]) == rows
    write_table(tmp_path / "r.parquet", rows)
    assert read_table(tmp_path / "r.parquet") == rows
    write_table(tmp_path / "empty.parquet", [])
    assert pq.read_table(tmp_path / "empty.parquet").column_names[1] == "model"


def test_the_page_stands_alone_and_escapes_what_models_say(wanted):
    reading = [region("k", truth="red <fox>", prediction="red <box>")]
    asked = [answer("q", "long", "sft", "wrong")]
    figures = figures_of(reading, asked)
    report = {"title": "t", "bars": hold(wanted, figures), "figures": figures, "notes": "n"}
    page = render(report, [*reading, *asked], {("documents", "k"): b"123", ("questions", "q"): PNG})
    assert "data:image/jpeg;base64,MTIz" in page
    assert "data:image/png;base64," + base64.b64encode(PNG).decode() in page
    assert "red &lt;<mark>b</mark>ox&gt;" in page
    assert "<fox>" not in page
    assert "not shown" in page
    assert "<script" not in page
    assert "http" not in page
    json.dumps(report["bars"], allow_nan=False)


def page_of(asked, wanted):
    figures = figures_of(regions(), asked)
    return render({"title": "t", "bars": hold(wanted, figures), "figures": figures, "notes": "n"}, [], {})


def test_the_page_says_what_each_interval_is_about(wanted):
    page = page_of(answers(before=0.3, after=0.5), wanted)
    assert "<b>+0.196 to +0.209</b> for another seed of RL on these same items" in page
    assert "for other items like these and these very runs" in page
    assert '<div class="value">0.196<small> &gt; 0</small>' in page
    assert "<b>none</b> for another seed" in page_of(answers(seeds=1), wanted)


def test_missing_characters_are_marked_too():
    assert marked("re fox", "red fox") == "re<mark>·</mark> fox"
    assert marked(None, "x") == "<i>no line</i>"
