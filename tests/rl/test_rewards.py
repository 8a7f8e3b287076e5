"""Rewards: what is judged, how terms join, and that a verifier that hangs, dies or prints harms nobody."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from model.answers import parse_answer
from rl.records import Judgement
from rl.rewards.compose import compose
from rl.rewards.service import RewardService
from rl.rewards.verify import Case, repetition, resolve, verify
from rl.settings import RewardSettings


def case(text, mode="short", answer="7", verifier="number", finish="stop"):
    return Case(answer, verifier, mode, text, finish)


@pytest.mark.parametrize(
    ("text", "mode", "finish", "answer"),
    [
        ("7", "short", "stop", "7"),
        ("3 + 4 = 7\n</think>\n\n7", "long", "stop", "7"),
        ("</think>7", "long", "stop", "7"),
        ("7", "long", "stop", None),
        ("a</think>7</think>7", "long", "stop", None),
        ("so\n</think>\n\n", "long", "stop", None),
        ("<think>a</think>7", "long", "stop", None),
        ("7</think>7", "short", "stop", None),
        ("", "short", "stop", None),
        ("7", "short", "length", None),
    ],
)
def test_format(text, mode, finish, answer):
    assert parse_answer(text, mode, finish == "stop")[1] == answer


@pytest.mark.parametrize(
    ("given", "verdict", "accuracy", "form"),
    [
        (case(" 07 "), "correct", 1.0, 1.0),
        (case("8"), "wrong", 0.0, 1.0),
        (case("7 words"), "wrong", 0.0, 1.0),
        (case("7</think>7"), "format", 0.0, 0.0),
        (case("red  fox", answer="red fox", verifier="exact"), "correct", 1.0, 1.0),
        (case("Red fox", answer="red fox", verifier="exact"), "wrong", 0.0, 1.0),
    ],
)
def test_verify(given, verdict, accuracy, form):
    found = verify(given)
    assert (found.verdict, found.accuracy, found.format) == (verdict, accuracy, form)


def test_partial_credit_is_for_reading_only():
    def earned(text, answer, verifier):
        return verify(replace(case(text, answer=answer, verifier=verifier), partial=0.5))

    assert earned("red fix", "red fox", "exact").accuracy == pytest.approx(0.5 * 6 / 7)
    assert earned("red fix", "red fox", "exact").verdict == "wrong"
    assert earned("red fox", "red fox", "exact").accuracy == 1.0
    assert earned("a very long story about foxes", "red fox", "exact").accuracy == 0.0
    assert earned("17", "18", "number").accuracy == 0.0


def test_unknown_verifier_names_the_known_ones():
    with pytest.raises(ValueError, match="exact, number"):
        resolve("nubmer")


def test_repetition_counts_windows():
    assert repetition("one two three " * 5, window=3, limit=5) == -1.0
    assert repetition("one two three " * 4, window=3, limit=5) == 0.0
    with pytest.raises(ValueError, match="window 0"):
        repetition("a", window=0)


def right(accuracy=1.0, verdict="correct"):
    return Judgement(accuracy, 1.0, 0.0, verdict)


def test_equation_one():
    judged = [right(), right(0.0, "wrong"), Judgement(0.0, 0.0, -1.0, "format")]
    assert [reward.total for reward in compose(judged, RewardSettings())] == [2.0, 1.0, -1.0]


def test_a_broken_verifier_neither_praises_nor_blames():
    judged = [right(), right(0.0, "wrong"), Judgement(0.0, 0.0, 0.0, "timeout")]
    assert compose(judged, RewardSettings())[2].total == 1.5
    assert compose([Judgement(0.0, 0.0, 0.0, "error")] * 2, RewardSettings())[0].total == 0.0


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "strange_verifiers.py").write_text(
        "import os, time\n"
        "def hangs(expected, answered):\n    time.sleep(3600)\n"
        "def dies(expected, answered):\n    os._exit(9)\n"
        'def prints(expected, answered):\n    print(\'{"verdict": "correct"}\', flush=True)\n    return False\n'
        "def raises(expected, answered):\n    raise RuntimeError('no')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = RewardService(deadline=1.0)
    yield made
    made.close()


def test_service_kills_and_goes_on(service):
    names = ["number", "strange_verifiers:hangs", "strange_verifiers:dies", "strange_verifiers:prints", "number"]
    service.judge([case("7")])  # the first answer includes the child's start
    begun = time.monotonic()
    judged = service.judge([case("7", verifier=name) for name in names])
    assert [item.verdict for item in judged] == ["correct", "timeout", "error", "wrong", "correct"]
    assert 1.0 <= time.monotonic() - begun < 60, "the deadline, and no more for a child that is new"
    assert service.box.starts == 4, "killed once, died and was tried again"
    assert service.judge([case("7", verifier="strange_verifiers:raises")])[0].verdict == "error"


def test_judging_needs_no_torch():
    import subprocess

    code = "import sys, rl.rewards.verify; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
