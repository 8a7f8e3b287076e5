"""Signs of life: how long is left, a line of every step that works whether it speaks or not, what a run will take here."""

from __future__ import annotations

import re
import shlex
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from cookhouse.cli.costs import core_gflops, costs, outlook, shipped
from cookhouse.cli.pace import WINDOW_S, Pace, time_left
from cookhouse.cli.view import RunView, alive
from cookhouse.project import load_project

RUN = ("run", "recipe=toy", "--backend", "inprocess")


@pytest.mark.parametrize(
    ("first", "last", "total", "waited", "left"),
    [
        ((100.0, 4), (160.0, 7), 10, 15.0, 45.0),
        ((0.0, 0), (10.0, 1), 3, 0.0, 20.0),
        ((0.0, 0), (10.0, 1), 3, 1000.0, 10.0),  # the unit under way is late, the ones after it are as before
        ((0.0, 0), (10.0, 3), 3, 5.0, 0.0),
        ((0.0, 2), (0.0, 2), 3, 5.0, None),
        ((0.0, 0), (0.0, 0), 0, 5.0, 0.0),
    ],
)
def test_time_left_from_two_counts(first, last, total, waited, left) -> None:
    assert time_left(first, last, total, waited) == left


def test_the_rate_is_that_of_the_last_minutes() -> None:
    """Ten cheap steps, then dear ones: within two minutes the estimate follows."""
    pace = Pace()
    assert pace.left(0.0) is None
    for step in range(11):
        pace.tell(1000.0 + step, step, 110)
    assert pace.left(0.0) == 100.0
    for step in range(1, 41):
        pace.tell(1010.0 + 10 * step, 10 + step, 110)
    assert WINDOW_S < 40 * 10
    assert pace.left(4.0) == 60 * 10 - 4.0
    pace.tell(2000.0, 0, 5)
    assert pace.left(0.0) is None, "another count begins anew"
    pace.tell(2010.0, 1, 5)
    assert pace.left(0.0) == 40.0
    pace.tell(2020.0, 2, 9)
    assert pace.left(0.0) is None, "so does another total"


@contextmanager
def view_of(monkeypatch, **given):
    """A view of one running step, ``train``, whose lines are all due and which no thread reminds. Its clock stands."""
    monkeypatch.setattr("cookhouse.cli.view.time.monotonic", lambda: 1000.0)
    monkeypatch.setattr("cookhouse.cli.view.QUIET_S", 0.0)
    monkeypatch.setattr("cookhouse.cli.view.BEAT_S", 3600.0)
    with RunView(["train", "evaluate"], **given) as view:
        view.event("step_started", step="train", key="0" * 64, reattached=False)
        yield view


def told(done: int, total: int, at: float) -> dict:
    return {"t": at, "kind": "progress", "done": done, "total": total, "unit": "steps (align)"}


def test_a_step_that_says_nothing_has_its_line(monkeypatch, capsys) -> None:
    with view_of(monkeypatch, expected={"train": 600.0}) as view:
        view._beat()
        view.progress("train", [told(10, 180, 1000.0)])
        view.progress("train", [told(20, 180, 1020.0)])
        view._beat()
        view.event("step_retry", step="train", what="a node went away", why="", wait_s=1.0)
        view.event("step_started", step="train", key="0" * 64, reattached=False)
        view._beat()
        view.event("step_finished", step="train", status="ok", seconds=3.0)
        view._beat()
    lines = [line.split("  ", 2)[2] for line in capsys.readouterr().err.splitlines()]
    said = ["running  0 s  about 10 min left", "10/180 steps (align)  0 s  about 10 min left"]
    said += ["20/180 steps (align)  0 s  about 5.3 min left"] * 2
    assert [line.strip() for line in lines[1:5]] == said
    assert lines[7].strip() == "running  0 s  about 10 min left", "a new attempt counts anew"
    assert lines[-2].strip() == "ok  in 3.0 s"
    assert lines[-1].strip() == "ending", "and so has the run when no step works"


def test_a_run_shows_life_while_its_step_is_silent(cookhouse, monkeypatch) -> None:
    """The real run: its step waits until a line of it was seen that no event of its own brought about."""
    monkeypatch.setattr("cookhouse.cli.view.QUIET_S", 0.0)
    monkeypatch.setattr("cookhouse.cli.view.BEAT_S", 0.01)
    seen = threading.Event()
    beat = RunView._beat

    def watched(self: RunView) -> None:
        beat(self)
        if self.rows["numbers"].status == "running":
            seen.set()

    def misbehave(crash: str, point: str) -> None:
        assert point != "start" or seen.wait(60), "nobody was told"

    monkeypatch.setattr(RunView, "_beat", watched)
    monkeypatch.setattr("toy_stages.misbehave", misbehave)
    code, _, err = cookhouse(*RUN, "numbers")
    assert code == 0
    assert re.search(r"numbers  running  \d+ s\n", err)


def test_planning_shows_life(monkeypatch, capsys) -> None:
    monkeypatch.setattr("cookhouse.cli.view.QUIET_S", 0.01)
    monkeypatch.setattr("cookhouse.cli.view.time.monotonic", lambda: 1000.0)
    asked = threading.Semaphore(0)

    def words() -> str:
        asked.release()
        return "3.1 GB of sources read"

    with alive("planning", words):
        assert all(asked.acquire(timeout=60) for _ in range(2)), "it goes on saying so"
    assert capsys.readouterr().err.startswith("planning  0 s  3.1 GB of sources read\n")


def test_a_first_run_is_told_from_the_recipes_figures_and_this_cpu(cookhouse, here: Path) -> None:
    recipe = here / "conf" / "recipe" / "toy.yaml"
    recipe.write_text(recipe.read_text() + "reference: {gflops: 100, seconds: {numbers: 60, squares: 30}}\n")
    project = load_project(["recipe=toy"])
    plan = project.plan(project.store)
    found, gflops = costs(project, plan, measure=lambda: 50.0)
    assert {name: cost.seconds for name, cost in found.items()} == {"numbers": 120.0, "squares": 60.0, "total": None}
    words = "takes about 3.0 min on this CPU (float32 product on one core: 50 GFLOP/s), and 1 step of unknown length"
    assert outlook(found, gflops) == words
    assert costs(project, plan, measure=lambda: None)[1] is None, "no torch, no word"

    assert shipped(load_project(["recipe=toy", "steps.squares.power=3"]), None) == {"numbers": 60.0}
    assert shipped(load_project(["recipe=toy", "source.documents=/d"]), None) == {}
    assert shipped(project, 20) == {}

    _, _, err = cookhouse(*RUN)
    assert re.search(r"takes about .* on this CPU \(float32 product on one core: \d+ GFLOP/s\)", err)
    _, _, err = cookhouse(*RUN, "steps.numbers.count=5")
    assert "takes about" in err
    assert "going by earlier results" in err, "what this store knows comes first"


def test_a_core_is_measured_in_a_process_of_its_own() -> None:
    speed = core_gflops()
    assert speed is not None
    assert speed > 1


def test_the_figures_of_tiny_are_those_of_its_steps() -> None:
    project = load_project(["recipe=tiny"])
    assert list(project.settings.reference.seconds) == [step.name for step in project.steps]


TEXTS = """\
# @package _global_
steps:
  text:
    stage: text
    source: ${source.documents}
    max_quarantine_share: 1.0
"""


def test_what_is_left_out_is_counted_and_the_command_lists_it(cookhouse, here: Path) -> None:
    (here / "conf" / "recipe" / "texts.yaml").write_text(TEXTS)
    (here / "texts").mkdir()
    rows = ['{"text": "one"}', "no json", '{"text": ""}', '{"text": "two"}']
    (here / "texts" / "a.jsonl").write_text("\n".join(rows))
    code, out, err = cookhouse("run", "recipe=texts", "--backend", "inprocess", f"source.documents={here / 'texts'}")
    assert code == 0, err
    told = out[out.index("left out, each with its reason:") :].splitlines()
    assert re.fullmatch(r"  text  .*\d (filtered|quarantined).*", told[1]), told
    words = shlex.split(told[2])
    assert words[:3] == ["cookhouse", "shards", "inspect"]
    code, out, _ = cookhouse(*words[1:])
    assert code == 0
    listed = out.splitlines()
    assert len(listed) == 2, out
    assert all(re.search(r"a.jsonl#\d  \w+: \w+", line) for line in listed), out
    assert "left out" not in cookhouse(*RUN)[1]
