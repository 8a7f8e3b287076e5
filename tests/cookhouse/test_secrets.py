"""A planted secret is nowhere after a real run: not in artifacts, logs, run records, tracking."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command

from cookhouse.cli.main import main
from cookhouse.project import load_project
from pipelines.workflow.watch import prepare

SECRET = "planted-4711-secret"
PASSWORD = "planted-pa55word"
RUN = ["run", "recipe=toy", "--backend", "inprocess"]


def holding(folder: Path, text: str) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


@pytest.fixture
def leaky(here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An override that makes a stage print its token and fail with it."""
    monkeypatch.setenv("PLANTED_TOKEN", SECRET)
    crash = here / "crash"
    crash.write_text("after-1:leak")
    return f"steps.numbers.crash={crash}"


def test_nowhere_after_a_tracked_run_that_prints_it_and_fails_with_it(leaky, here, capsys, monkeypatch) -> None:
    monkeypatch.setattr("cookhouse.session.MIRROR_WAIT_S", 250.0)  # until everything is delivered
    assert main([*RUN, leaky]) == 1
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err
    assert "the server refused ***" in shown.err
    assert main([*RUN, leaky]) == 0
    assert main(["status", "--html"]) == 0
    assert (here / "artifacts" / "mlflow.db").exists()
    assert holding(here, SECRET) == []
    (log,) = (here / "artifacts").glob("toy_numbers/*/attempts/1-*/logs/job.log")
    assert "login with *** and no newline" in log.read_text()
    assert "warning: ***" in log.read_text()


def test_nowhere_when_the_address_of_the_tracking_server_holds_it(here, capsys) -> None:
    uri = f"tracking.uri=http://me:{PASSWORD}@127.0.0.1:9"
    assert main([*RUN, uri]) == 0
    assert main(["config", "show", uri]) == 0
    shown = capsys.readouterr()
    assert PASSWORD not in shown.out + shown.err
    assert holding(here, PASSWORD) == []
    code = main(["resume", "--backend", "inprocess"])
    assert code == 2
    assert "give tracking.uri=... again" in capsys.readouterr().err


def test_the_process_of_a_job_writes_a_clean_log(leaky, here) -> None:
    """``cookhouse.worker`` as a Ray job starts it, with a child that writes to the same output."""
    project = load_project(["recipe=toy", leaky])
    store = project.store
    spec, _ = prepare(store, project.plan(store)["numbers"], {})
    _, environment = command()
    line = [sys.executable, "-m", "cookhouse.worker", str(Path(spec.attempt) / "spec.json")]
    done = subprocess.run(line, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 1
    log = Path(spec.attempt) / "logs" / "job.log"
    while "refused" not in log.read_text():  # its own process writes the log, until the end of its input
        pass
    assert "login with ***" in log.read_text()
    assert holding(here, SECRET) == []
