"""The stopwatch itself: it sees children, refuses wrong counts before any time, takes turns, and says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from benchmarks import harness
from benchmarks.harness import (
    Bar,
    Contestant,
    CountMismatch,
    Meter,
    Outcome,
    Usage,
    compare,
    finish,
    run_command,
    slope,
)

BURN = "import time; end = time.process_time() + {}\nwhile time.process_time() < end: pass"


def outcome(pages: int, cpu_s: float) -> Outcome:
    return Outcome({"pages": pages}, Usage(cpu_s, 2 * cpu_s, 1 << 20))


def test_the_meter_counts_this_process_and_its_children() -> None:
    with Meter() as meter:
        subprocess.run([sys.executable, "-c", BURN.format(0.3)], check=True)
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
    assert 0.45 <= meter.usage.cpu_s < 2.0
    assert meter.usage.peak_rss > 5 << 20
    assert meter.usage.wall_s > 0.2


def test_a_grandchild_nobody_waits_for_is_counted_while_it_lives() -> None:
    orphan = f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', {BURN.format(1.2)!r}])\n" + (
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "import os\nwhile os.path.exists(f'/proc/{p.pid}'): time.sleep(0.01)"
    )
    with Meter() as meter:
        subprocess.run([sys.executable, "-c", orphan], check=True)
    assert meter.usage.cpu_s >= 0.6  # a busy machine looks seldom; without the samples it would be near 0.1


def test_work_before_the_meter_is_not_counted() -> None:
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    with Meter() as meter:
        pass
    assert meter.usage.cpu_s < 0.2


def test_tree_has_this_process_and_its_child() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as child:
        pids = {process.pid for process in harness.tree(os.getpid())}
        assert {os.getpid(), child.pid} <= pids
        assert harness.tree_rss(os.getpid()) > harness.tree_rss(child.pid) > 0
        child.communicate("\n")
    assert harness.read_process(child.pid) is None


def test_contestants_take_turns_and_medians_and_ratios_come_out() -> None:
    order: list[str] = []

    def racer(name: str, times: list[float]) -> Contestant:
        def run() -> Outcome:
            order.append(name)
            return outcome(100, times[order.count(name) - 1])

        return Contestant(name, run)

    rows = compare([racer("a", [1.0, 2.0, 4.0]), racer("b", [3.0, 6.0, 4.0])], "pages", {"pages": 100}, rounds=3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert rows[0].cpu_s == 2.0 and rows[0].per_core_second == 50.0
    assert rows[0].over(rows[1]) == 3.0  # 3, 3, 1


def test_a_wrong_count_is_refused_before_any_time() -> None:
    with pytest.raises(CountMismatch, match=r"b: \{'pages': 99\} where \{'pages': 100\}"):
        compare(
            [Contestant("a", lambda: outcome(100, 1.0)), Contestant("b", lambda: outcome(99, 0.1))],
            "pages",
            {"pages": 100},
        )


def test_a_peer_that_is_missing_is_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    rows = compare(
        [Contestant("a", lambda: outcome(100, 1.0)), Contestant("peer", None, "no such package")],
        "pages",
        {"pages": 100},
    )
    assert rows[0].over(rows[1]) is None
    bars = [Bar("against peer", rows[0].over(rows[1]), ">=", 6.0), Bar("speed", rows[0].per_core_second, ">=", 50.0)]
    assert finish("documents", rows, bars, "pages") == 0
    shown = capsys.readouterr().out
    assert "not compared" in shown and "no such package" in shown
    record = json.loads(shown.splitlines()[-1])
    assert [bar["verdict"] for bar in record["bars"]] == ["not compared", "holds"]
    assert record["rows"][0]["rounds"] == [100.0, 100.0, 100.0]


def test_a_missed_bar_gives_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    rows = compare([Contestant("a", lambda: outcome(10, 1.0))], "pages", {"pages": 10}, rounds=1)
    assert finish("x", rows, [Bar("memory", 60.0, "<=", 50.0, "MB")]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_a_program_hands_over_what_it_measured_itself() -> None:
    program = (
        "from benchmarks.harness import Meter, emit\n"
        "with Meter() as meter: sum(range(1000))\n"
        "emit({'pages': 3}, meter.usage, {'store_mb': 1.5})"
    )
    result = run_command([sys.executable, "-c", program])
    assert result.counts == {"pages": 3} and result.figures == {"store_mb": 1.5}
    assert result.usage.cpu_s < 1.0


def test_a_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(RuntimeError, match="no pages here"):
        run_command([sys.executable, "-c", "raise SystemExit('no pages here')"])
    with pytest.raises(RuntimeError, match="0 outcomes"):
        run_command([sys.executable, "-c", "print('quiet')"])


def test_slope_is_bytes_an_item() -> None:
    assert slope([(0, 10.0), (100, 210.0), (200, 410.0)]) == pytest.approx(2.0)
    assert slope([(0, 7.0), (5, 7.0)]) == 0.0
