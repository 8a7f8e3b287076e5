"""The demo's benchmark: whose CPU seconds are whose, windows from real events, and a small run of the whole program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import workflow
from benchmarks.demo import REST, Moment, costs, windows_of
from pipelines.core.events import EventWriter

REPOSITORY = Path(__file__).resolve().parents[2]


def busy(seconds: int) -> list[Moment]:
    """A look a second at one core that is always busy; processes end unseen every third second."""
    return [Moment(float(t), float(t - t % 3), float(t)) for t in range(seconds + 1)]


def test_overlapping_steps_share_the_time_they_share() -> None:
    first, second, rest = costs({"a": (0.0, 10.0), "b": (6.0, 12.0)}, busy(15), product_s=0.5)
    seen = [Moment(float(t), 0.0, float(t)) for t in range(16)]
    assert [round(one.cpu_s, 6) for one in costs({"a": (0.0, 10.0), "b": (6.0, 12.0)}, seen, 0.5)] == [8.0, 4.0, 3.0]
    assert (first.wall_s, second.wall_s, rest.wall_s) == (10.0, 6.0, 3.0)
    assert (first.shared_s, second.shared_s, rest.shared_s) == (4.0, 4.0, 0.0)
    assert first.products == pytest.approx(2 * first.cpu_s)
    assert (first.step, second.step, rest.step) == ("a", "b", REST)


def test_a_process_that_dies_unseen_takes_no_seconds_back() -> None:
    moments = [Moment(0.0, 5.0, 0.0), Moment(1.0, 2.0, 0.8), Moment(2.0, 2.5, 0.8)]
    (one, rest) = costs({"a": (0.0, 2.0)}, moments, 1.0)
    assert (one.cpu_s, rest.cpu_s) == (pytest.approx(1.3), 0.0)


def test_a_step_lasts_from_its_first_start(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "runs" / "r" / "events.jsonl")
    for kind, step in [("step_started", "a"), ("step_started", "a"), ("step_finished", "a"), ("step_finished", "hit")]:
        writer.emit(kind, step=step)
    writer.close()
    times = [json.loads(line)["t"] for line in writer.path.read_text().splitlines()]
    assert windows_of(tmp_path) == {"a": (times[0], times[2])}


def test_growth_of_what_cost_nothing_is_not_compared() -> None:
    assert workflow.growth([(1000, 1.0, 0.0), (10_000, 15.0, 5e6)], 2) is None
    assert workflow.growth([(1000, 1.0, 0.0), (10_000, 15.0, 5e6)], 1) == pytest.approx(1.5)


def test_the_program_runs_what_it_is_given(tmp_path: Path) -> None:
    words = ["recipe=tiny", "text", "steps.corpus.train_cards=40", "steps.corpus.test_cards=10"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.demo", "--plain", *words, "tracking=none", "cluster=inprocess"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert [row["step"] for row in told["rows"]] == ["corpus", "text", REST]
    corpus, text, _ = told["rows"]
    assert corpus["cpu_s"] > 0 and corpus["products"] > 0
    assert text["cpu_s"] >= 0, "a step of a tenth of a second may fall between two looks"
    assert {bar["verdict"] for bar in told["bars"]} == {"not compared"}
    assert "GFLOP/s in float32" in done.stdout.splitlines()[0]
    assert not list(tmp_path.glob("cookhouse-demo-*")), "the scratch root is gone"
