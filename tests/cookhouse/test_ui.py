"""``cookhouse ui``: the page it names is the runs table of the newest experiment, and no password is in an argument."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from commands import command

from cookhouse.cli.main import main
from cookhouse.cli.services import mlflow_server
from cookhouse.pages.links import runs_table
from pipelines.tracking import state
from pipelines.workflow.runs import newest_runs

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SERVER = "https://ada:s3cret-word@tracking.example/mlflow/"


def test_the_page_is_the_runs_table_of_the_newest_tracked_run(cookhouse, here: Path) -> None:
    home, local = here / "artifacts", "sqlite:///m.db"
    assert runs_table(home, local, 5001) == "http://127.0.0.1:5001", "nothing is tracked: the front door"
    for experiment in ("7", "8", ""):
        cookhouse("run", "recipe=toy", "--backend", "inprocess")
        newest = next(newest_runs(home))
        if experiment:
            state.save(home / "runs" / newest.run_id, local, {"experiment_id": experiment})
            state.save(home / "runs" / newest.run_id, SERVER, {"experiment_id": experiment})
    path = "#/experiments/8/runs?workflowType=machine_learning"
    assert runs_table(home, local, 5001) == f"http://127.0.0.1:5001/{path}", "the newest run was not tracked"
    assert runs_table(home, SERVER) == f"https://tracking.example/mlflow/{path}"
    code, out, _ = cookhouse("ui", f"tracking.uri={SERVER}")
    assert code == 0
    assert out == f"runs are tracked at https://tracking.example/mlflow/{path}\n"


def test_the_address_of_the_store_is_in_no_argument() -> None:
    uri = "postgresql://ada:s3cret-word@db.example/mlflow"
    line, environment = mlflow_server(uri, 5001)
    assert not [word for word in line if "s3cret-word" in word or "db.example" in word]
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == environment["DO_NOT_TRACK"] == "true"


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
def test_a_browser_finds_the_runs_there_and_nobody_is_told(here: Path, monkeypatch) -> None:
    """The real MLflow and a real browser: --open gives it the page, which holds the run, and asks no other machine."""
    from playwright.sync_api import sync_playwright

    assert main(["run", "recipe=toy", "--backend", "inprocess", "-q"]) == 0
    run = next(newest_runs(here / "artifacts"))
    uri = f"sqlite:///{here / 'artifacts' / 'mlflow.db'}"
    while not state.load(here / "artifacts" / "runs" / run.run_id, uri).get("experiment_id"):
        time.sleep(0.1)  # the mirror goes on for a moment
    opened = here / "opened"
    note = here / "browser"
    note.write_text(f'#!/bin/sh\necho "$1" > {opened}.part\nmv {opened}.part {opened}\n')
    note.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2, "somebody listens there"
    line, environment = command("ui", "--open", "--port", str(port), BROWSER=f"{note} %s")
    for name in ("CI", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)  # MLflow says nothing where it sees tests
    server = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not opened.exists():
            assert server.poll() is None
            time.sleep(0.1)
        page_address = opened.read_text().strip()
        assert page_address == f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning"
        asked: list[str] = []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            page = browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.goto(page_address)
            page.get_by_text(f"toy-{run.run_id}").first.wait_for(timeout=60_000)
            telling = page.request.get(f"http://127.0.0.1:{port}/ajax-api/3.0/mlflow/ui-telemetry").json()
            browser.close()
        assert telling["disable_ui_telemetry"] is True
        assert not [url for url in asked if not url.startswith((f"http://127.0.0.1:{port}/", "data:", "blob:"))]
    finally:
        server.terminate()
        server.wait(60)
