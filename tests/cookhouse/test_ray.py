"""Real Ray: a run through jobs, a killed worker, and a command killed with -9 whose job the next command finishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import command

from pipelines.workflow import process
from pipelines.workflow.files import read_json


def start(session, *arguments: str) -> subprocess.Popen[str]:
    line, environment = command("run", "recipe=toy", f"storage.root={session.root}", "tracking=none", *arguments)
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(session, pattern: str, driver: subprocess.Popen[str]) -> Path:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        found = sorted(session.root.glob(pattern))
        if found:
            return found[0]
        if driver.poll() is not None:
            raise AssertionError(driver.communicate())
        time.sleep(0.05)
    raise AssertionError(f"no {pattern}")


def newest_run(session) -> dict:
    return read_json(sorted((session.root / "runs").glob("*.json"))[-1])


def attempts(session, step: str) -> list[Path]:
    row = next(row for row in newest_run(session)["steps"] if row["step"] == step)
    return sorted((Path(row["folder"]) / "attempts").iterdir())


def test_a_killed_command_is_reattached_to(ray_session, here) -> None:
    """kill -9 of the command: its job goes on, and the next command attaches to it and finishes the recipe."""
    driver = start(ray_session, "steps.numbers.count=40", "steps.numbers.pause_s=0.2")
    worker = wait_for(ray_session, "toy_numbers/*/attempts/*/worker.json", driver)
    wait_for(ray_session, "toy_numbers/*/attempts/*/units/u1.json", driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    job = read_json(worker)
    assert process.is_alive(job), "the job outlives its command"
    second = start(ray_session, "steps.numbers.count=40", "steps.numbers.pause_s=0.2")
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert "attached to its running job" in err
    assert "total" in out
    assert len(attempts(ray_session, "numbers")) == 1
    committed = list(worker.parents[2].glob("artifact*.json"))
    assert len(committed) == 1
    assert json.loads(committed[0].read_text())["stats"]["made"] == 40
    assert ray_session.cluster.state() is not None, "a Ray that was started to stay stays"


def test_a_killed_worker_is_retried(ray_session, here) -> None:
    """kill -9 of the job's process: a new attempt adopts its units, in the same run."""
    driver = start(ray_session, "steps.numbers.count=30", "steps.numbers.pause_s=0.2", "--until", "numbers")
    folder = ray_session.root / "toy_numbers"
    before = set(folder.glob("*/attempts/*/units/u1.json"))
    while not (new := set(folder.glob("*/attempts/*/units/u1.json")) - before):
        assert driver.poll() is None
        time.sleep(0.05)
    os.kill(read_json(new.pop().parents[1] / "worker.json")["pid"], signal.SIGKILL)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 0, err
    assert "ended without a word" in err
    assert "trying again" in err
    assert len(attempts(ray_session, "numbers")) == 2


def test_ctrl_c_cancels_the_job(ray_session, here) -> None:
    driver = start(ray_session, "steps.numbers.count=50", "steps.numbers.pause_s=0.2", "--until", "numbers")
    folder = ray_session.root / "toy_numbers"
    before = set(folder.glob("*/attempts/*/units/u1.json"))
    while not (new := set(folder.glob("*/attempts/*/units/u1.json")) - before):
        assert driver.poll() is None
        time.sleep(0.05)
    attempt = new.pop().parents[1]
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    assert not process.is_alive(read_json(attempt / "worker.json"))
    assert read_json(attempt / "outcome.json")["status"] == "killed"


def test_units_are_mapped_on_the_cluster(ray_session) -> None:
    from cookhouse.stages.parallel import map_units

    assert sorted(map_units(abs, [-3, 1, -2, 5], workers=2)) == [(-3, 3), (-2, 2), (1, 1), (5, 5)]


def test_an_exception_of_a_unit_comes_through(ray_session) -> None:
    import pytest

    from cookhouse.stages.parallel import map_units

    with pytest.raises(ValueError, match="invalid literal"):
        list(map_units(int, ["1", "x"], workers=1))


def at_work(session, arguments: tuple[str, ...]) -> tuple[subprocess.Popen[str], Path]:
    """A command, and the attempt of its first step once that has finished a unit."""
    before = set(session.root.glob("runs/*.json"))
    driver = start(session, *arguments)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if set(session.root.glob("runs/*.json")) - before:
            row = next(row for row in newest_run(session)["steps"] if row["step"] == "numbers")
            found = list(Path(row["folder"]).glob("attempts/*/units/u0.json"))
            if found:
                return driver, found[0].parent.parent
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.05)
    raise AssertionError("it did not come to work")


def test_cancel_stops_a_run_and_what_a_killed_command_left(ray_session, here) -> None:
    """A wish reaches the command of a run; a job whose command is gone is stopped directly."""
    slow = ("steps.numbers.count=150", "steps.numbers.pause_s=0.2")
    line, environment = command("cancel", f"storage.root={ray_session.root}")
    driver, _ = at_work(ray_session, (*slow, "steps.numbers.shape.low=0.11"))
    assert subprocess.run(line, env=environment, timeout=90).returncode == 0
    driver.communicate(timeout=60)
    assert driver.returncode == 130
    driver, attempt = at_work(ray_session, (*slow, "steps.numbers.shape.low=0.12"))
    job = read_json(attempt / "worker.json")
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    shown = subprocess.run(line, env=environment, timeout=90, capture_output=True, text=True)
    assert "stopped numbers" in shown.stdout
    deadline = time.monotonic() + 60
    while process.is_alive(job):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_job_joins_its_own_ray_where_there_are_several(tmp_path, here) -> None:
    """Three Rays on one machine, each with a token of its own: every job joins the one it was sent to."""
    (here / "conf" / "recipe" / "spread.yaml").write_text(
        '# @package _global_\nsteps:\n  spread: {stage: "toy_stages:spread", count: 3, pause_s: 0.0}\n'
    )
    runs = []
    for name in ("one", "two", "three"):
        line, environment = command("run", "recipe=spread", f"storage.root={tmp_path / name}", "tracking=none")
        environment.pop("RAY_ADDRESS", None)
        runs.append(subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for run in runs:
        _, err = run.communicate(timeout=280)
        assert run.returncode == 0, err
        assert "trying again" not in err
