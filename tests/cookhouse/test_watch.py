"""What a terminal shows while a step works: the table of ``run``, and ``status --watch`` beside it, also in a pipe and as a
page."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from commands import command, read_until, until

from cookhouse.cli.view import RunView
from pipelines.workflow.files import read_json

ENDLESS = (
    *("run", "recipe=toy", "--backend", "inprocess", "tracking=none"),
    "steps.numbers.count=100000",
)


def on_a_terminal(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """A command as somebody types it, with colours."""
    line, environment = command(*arguments, TERM="xterm", COLUMNS="100", LINES="30")
    return line, {name: value for name, value in environment.items() if name not in ("NO_COLOR", "CI")}


@pytest.fixture
def endless(here: Path, gate: Path) -> Iterator[subprocess.Popen[str]]:
    """A run whose first step waits at the gate for ever; it has told of its start."""
    line, environment = command(*ENDLESS, f"steps.numbers.gate={gate}")
    driver = subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True)
    read_until("started", driver)
    yield driver
    driver.kill()
    driver.communicate()


def screen_until(terminal: int, words: bytes) -> bytes:
    """What a terminal shows until the words, or (none given) until the program on it ended."""
    shown = b""
    while not words or words not in shown:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the last program closed its side
            break
        if not part:
            break
        shown += part
    return shown


def test_it_follows_a_run_to_its_end(endless: subprocess.Popen[str], here: Path) -> None:
    terminal, other_side = pty.openpty()
    line, environment = on_a_terminal("status", "--watch")
    on_terminal = subprocess.Popen(line, env=environment, stdout=other_side, stderr=other_side)
    in_pipe = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True)
    as_page = subprocess.Popen([*line, "--html", "page.html"], env=environment, stdout=subprocess.PIPE, text=True)
    os.close(other_side)
    assert in_pipe.stdout is not None
    first = [in_pipe.stdout.readline() for _ in range(3)]
    assert [text.split()[:2] for text in first] == [
        ["running", "numbers"],
        ["waiting", "squares"],
        ["waiting", "total"],
    ]
    begun = screen_until(terminal, b"running")
    assert b"running" in begun, begun
    page = here / "page.html"
    until(page.exists, as_page)
    assert 'http-equiv="refresh"' in page.read_text(encoding="utf-8")

    endless.send_signal(signal.SIGINT)
    rest, _ = in_pipe.communicate()
    assert [text.split()[:2] for text in rest.splitlines()] == [["stopped", "numbers"]], "a line when something changed"
    shown = begun + screen_until(terminal, b"")
    assert on_terminal.wait() == in_pipe.returncode == as_page.wait() == 0
    assert b"\x1b[1A" in shown, "the table is drawn in place"
    assert shown.rindex(b"stopped  ") > shown.rindex(b"running  "), "the last table shows how it ended"
    assert 'http-equiv="refresh"' not in page.read_text(encoding="utf-8")
    run = read_json(next((here / "artifacts" / "runs").glob("*.json")))
    assert run["run_id"].encode() in shown


def test_the_table_of_a_run_is_there_while_a_step_works_in_the_same_process(here: Path, gate: Path) -> None:
    terminal, other_side = pty.openpty()
    line, environment = on_a_terminal(*ENDLESS, f"steps.numbers.gate={gate}")
    driver = subprocess.Popen(line, env=environment, stdout=other_side, stderr=other_side)
    os.close(other_side)
    try:
        shown = screen_until(terminal, b"/100000 numbers")
        assert b"running" in shown, shown
        assert b"/100000 numbers" in shown, "and its progress, as on Ray"
        assert driver.poll() is None
        driver.send_signal(signal.SIGINT)
        shown += screen_until(terminal, b"")
        assert driver.wait() == 130, shown
    finally:
        driver.kill()
    (log,) = (here / "artifacts").glob("toy_numbers/*/attempts/*/logs/job.log")
    assert set(log.read_text().split()[::2]) == {"unit"}, "and is not in the step's log"


def test_progress_off_a_terminal_is_no_line_of_the_steps_log(cookhouse, here: Path, monkeypatch) -> None:
    """The step works in the same process: its own output goes to its log, what the command says does not."""
    monkeypatch.setattr("cookhouse.cli.view.QUIET_S", 0.0)
    monkeypatch.setattr("pipelines.workflow.watch.FOLLOW_S", 0.01)
    heard = threading.Event()
    real = RunView.progress

    def progress(self: RunView, step: str, events: Sequence[dict]) -> None:
        real(self, step, events)
        if self.rows[step].progress == "2/4 numbers":
            heard.set()

    def misbehave(crash: str, point: str) -> None:
        assert point != "before-2" or heard.wait(60), "nobody was told"

    monkeypatch.setattr(RunView, "progress", progress)
    monkeypatch.setattr("toy_stages.misbehave", misbehave)
    code, _, err = cookhouse("run", "numbers", "recipe=toy", "--backend", "inprocess")
    assert code == 0
    told = [line.split()[2:4] for line in err.splitlines() if "/4 numbers" in line]
    assert ["2/4", "numbers"] in told
    (log,) = (here / "artifacts").glob("toy_numbers/*/attempts/*/logs/job.log")
    assert log.read_text().splitlines() == ["unit 0", "unit 1", "unit 2", "unit 3"]
