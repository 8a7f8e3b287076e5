"""Real Ray: a run through jobs, a killed worker, and a command killed with -9 whose job the next command finishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import command, read_until, until

from pipelines.core.errors import ConfigError
from pipelines.core.executor import Resources
from pipelines.workflow import process
from pipelines.workflow.backends.given_ray import GivenRay
from pipelines.workflow.files import read_json


def start(session, *arguments: str) -> subprocess.Popen[str]:
    line, environment = command("run", "recipe=toy", f"storage.root={session.root}", "tracking=none", *arguments)
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def newest_run(session) -> dict:
    return read_json(sorted((session.root / "runs").glob("*.json"))[-1])


def attempts(session, step: str) -> list[Path]:
    row = next(row for row in newest_run(session)["steps"] if row["step"] == step)
    return sorted((Path(row["folder"]) / "attempts").iterdir())


def at_work(session, gate: Path, *arguments: str) -> tuple[subprocess.Popen[str], Path]:
    """A command, and the attempt of its first step once that has made its two units and waits at the gate."""
    before = set(session.root.glob("toy_numbers/*/attempts/*/units/u1.json"))
    driver = start(session, f"steps.numbers.gate={gate}", *arguments)
    found = until(lambda: set(session.root.glob("toy_numbers/*/attempts/*/units/u1.json")) - before, driver)
    return driver, found.pop().parents[1]


def gone(job: dict) -> None:
    """Until a process has ended."""
    while process.is_alive(job):
        time.sleep(0.02)


def test_a_killed_command_is_reattached_to(ray_session, here, gate) -> None:
    """kill -9 of the command: its job goes on, and the next command attaches to it and finishes the recipe."""
    driver, attempt = at_work(ray_session, gate, "steps.numbers.count=5")
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert process.is_alive(read_json(attempt / "worker.json")), "the job outlives its command"
    second = start(ray_session, f"steps.numbers.gate={gate}", "steps.numbers.count=5")
    read_until("attached to its running job", second)
    gate.unlink()
    out, err = second.communicate()
    assert second.returncode == 0, err
    assert "total" in out
    assert len(attempts(ray_session, "numbers")) == 1
    committed = list(attempt.parents[1].glob("artifact*.json"))
    assert len(committed) == 1
    assert json.loads(committed[0].read_text())["stats"]["made"] == 5
    assert ray_session.cluster.state() is not None, "a Ray that was started to stay stays"


def test_a_killed_worker_is_retried(ray_session, here, gate) -> None:
    """kill -9 of the job's process: a new attempt adopts its units, in the same run."""
    driver, attempt = at_work(ray_session, gate, "steps.numbers.count=6", "--until", "numbers")
    job = read_json(attempt / "worker.json")
    os.kill(job["pid"], signal.SIGKILL)
    gone(job)
    gate.unlink()
    _, err = driver.communicate()
    assert driver.returncode == 0, err
    assert "ended without a word" in err
    assert "trying again" in err
    assert len(attempts(ray_session, "numbers")) == 2
    (committed,) = attempt.parents[1].glob("artifact*.json")
    assert json.loads(committed.read_text())["stats"]["made"] == 4, "two were adopted"


def test_ctrl_c_cancels_the_job(ray_session, here, gate) -> None:
    driver, attempt = at_work(ray_session, gate, "steps.numbers.count=7", "--until", "numbers")
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate()
    assert driver.returncode == 130, err
    assert not process.is_alive(read_json(attempt / "worker.json"))
    assert read_json(attempt / "outcome.json")["status"] == "killed"


def test_units_are_mapped_on_the_cluster(ray_session) -> None:
    from pipelines.workflow.backends.ray_executor import RayExecutor

    assert sorted(RayExecutor().map(abs, [-3, 1, -2, 5], Resources(), at_once=2)) == [(-3, 3), (-2, 2), (1, 1), (5, 5)]


def test_an_exception_of_a_unit_comes_through(ray_session) -> None:
    from pipelines.workflow.backends.ray_executor import RayExecutor

    with pytest.raises(ValueError, match="invalid literal"):
        list(RayExecutor().map(int, ["1", "x"], Resources(), at_once=1))


def test_cancel_stops_a_run_and_what_a_killed_command_left(ray_session, here, gate) -> None:
    """A wish reaches the command of a run; a job whose command is gone is stopped directly."""
    line, environment = command("cancel", f"storage.root={ray_session.root}")
    driver, _ = at_work(ray_session, gate, "steps.numbers.count=8")
    assert subprocess.run(line, env=environment).returncode == 0
    driver.communicate()
    assert driver.returncode == 130
    driver, attempt = at_work(ray_session, gate, "steps.numbers.count=9")
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    shown = subprocess.run(line, env=environment, capture_output=True, text=True)
    assert "stopped numbers" in shown.stdout
    gone(read_json(attempt / "worker.json"))


def test_a_wrong_token_is_one_message_at_once(ray_session, monkeypatch) -> None:
    cluster = GivenRay(ray_session.cluster.wait()["dashboard"], python="python", start_timeout_s=60)
    assert cluster.wait() == {"dashboard": cluster.address}, "RAY_AUTH_TOKEN_PATH of the session is read"
    assert cluster.client_environment == {"RAY_AUTH_MODE": "token"}
    for token, why in (("wrong" * 8, "HTTP 403 (401: none was sent"), ("", "HTTP 401")):
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
        begun = time.monotonic()
        with pytest.raises(ConfigError, match="refuses the token") as refused:
            GivenRay(cluster.address, python="python", start_timeout_s=60).wait()
        assert time.monotonic() - begun < 5
        assert why in refused.value.why
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(ConfigError, match="token of the Ray cluster cannot be read"):
        cluster.wait()


def test_a_command_inside_a_job_uses_the_nodes_of_its_cluster(ray_session, here) -> None:
    """``RAY_ADDRESS`` set, ``--backend inprocess``: the units are tasks of that Ray; without it they run in the command. The
    bytes are the same."""
    line, environment = command("run", "recipe=where", "--backend", "inprocess", "tracking=none")
    (here / "conf" / "recipe" / "where.yaml").write_text(
        '# @package _global_\nsteps:\n  spread: {stage: "toy_stages:spread", count: 3}\n'
    )
    told, made = {}, {}
    for name, address in (("alone", None), ("joined", ray_session.cluster.wait()["address"])):
        where = {key: value for key, value in environment.items() if key != "RAY_ADDRESS"}
        where |= {"RAY_ADDRESS": address} if address else {}
        done = subprocess.run([*line, f"storage.root={here / name}"], env=where, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (folder,) = (here / name / "toy_spread").iterdir()
        own = json.loads((folder / "artifact.json").read_text())["provenance"]["pid"]
        units = [json.loads(file.read_text())["receipt"] for file in folder.glob("attempts/*/units/*.json")]
        told[name] = {unit["pid"] == own for unit in units}
        made[name] = {file.name: file.read_bytes() for file in folder.glob("attempts/*/parts/*")}
    assert told == {"alone": {True}, "joined": {False}}
    assert made["alone"] == made["joined"]
    assert len(made["alone"]) == 3


@pytest.mark.slow
def test_a_job_joins_its_own_ray_where_there_are_several(tmp_path, here) -> None:
    """Three Rays on one machine, each with a token of its own: every job joins the one it was sent to."""
    (here / "conf" / "recipe" / "spread.yaml").write_text(
        '# @package _global_\nsteps:\n  spread: {stage: "toy_stages:spread", count: 3}\n'
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
