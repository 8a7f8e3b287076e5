"""Commands over a store on S3: sweep, status, timeline, logs and gc, also beside the runs of another machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.core import storage
from pipelines.workflow.lease import Lease
from pipelines.workflow.store import Store

URL = "s3://kitchen/root"
ROOT = f"storage.root={URL}"
RUN = ("run", "recipe=toy", "--backend", "inprocess", ROOT)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quick(s3, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.workflow.runner.POLL_S", 0.0)
    monkeypatch.setattr("pipelines.workflow.watch.LOOK_REMOTE_S", 0.0)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on this is another machine: it knows nothing of the runs before."""

    def move() -> None:
        monkeypatch.setenv("COOKHOUSE_HOME", str(tmp_path / "another home"))

    return move


def waste(cookhouse: Call, *arguments: str) -> list[tuple[str, str]]:
    code, out, err = cookhouse("gc", "--json", ROOT, *arguments)
    assert code == 0, err
    return [(item["kind"], item["name"].partition("-")[0]) for item in json.loads(out)["waste"]]


def test_a_sweep_is_made_once_shown_and_drawn(cookhouse: Call) -> None:
    line = ("sweep", "recipe=toy", "--backend", "inprocess", "tracking=none", ROOT, "steps.squares.power=2,3")
    code, out, err = cookhouse(*line)
    assert code == 0, err
    assert "5 steps made for 6 of 2 combinations" in out
    code, out, _ = cookhouse(*line)
    assert code == 0
    assert "0 steps made" in out
    assert cookhouse("status", ROOT)[1].count("done") == 3
    assert "unit 3" in cookhouse("logs", "squares", ROOT)[1]
    page = Path(cookhouse("status", "--html", ROOT)[1].strip()).read_text(encoding="utf-8")
    assert page.count("from the store") >= 3
    assert not re.search(r"href='s3://", page), "a browser cannot open what lies in a bucket"
    assert f"{URL}/toy_squares/squares-" in page


def test_gc_on_a_remote_root(cookhouse: Call) -> None:
    assert cookhouse(*RUN)[0] == 0
    assert cookhouse(*RUN, "--force", "squares")[0] == 0
    assert cookhouse(*RUN, "steps.numbers.count=6")[0] == 0
    assert waste(cookhouse) == [("generation", "squares")]
    found = waste(cookhouse, "--keep-runs", "1")
    assert [name for kind, name in found if kind == "key"] == ["total", "squares", "numbers"]
    code, out, err = cookhouse("gc", "--keep-runs", "1", "--yes", ROOT)
    assert code == 0, err
    assert "freed" in out
    assert waste(cookhouse, "--keep-runs", "1") == []
    assert cookhouse("plan", "recipe=toy", ROOT, "steps.numbers.count=6", "--detailed-exitcode")[0] == 0
    store = Store(URL)
    folders = [folder for name in ("toy_numbers", "toy_squares", "toy_total") for folder in store.listing(name)]
    assert len(folders) == 3


def test_gc_leaves_alone_what_other_machines_made(cookhouse: Call, elsewhere: Callable[[], None]) -> None:
    assert cookhouse(*RUN)[0] == 0
    assert cookhouse(*RUN, "--force", "squares")[0] == 0
    elsewhere()
    assert cookhouse(*RUN, "steps.total.bias=1")[0] == 0
    assert cookhouse(*RUN, "steps.total.bias=2")[0] == 0
    assert waste(cookhouse, "--keep-runs", "1") == [("key", "total"), ("generation", "squares")], (
        "its own total goes, the other machine's stays, and numbers and squares with it"
    )


def test_gc_spares_what_another_machine_reads_now(
    cookhouse: Call, elsewhere: Callable[[], None], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run is not known here and has committed nothing yet, but its attempt says what it reads."""
    assert cookhouse(*RUN)[0] == 0
    assert cookhouse(*RUN, "steps.numbers.count=6")[0] == 0
    home = str(storage.home_of(Store(URL).root).parent)
    elsewhere()
    crash = here / "crash"
    crash.write_text("after-1:bug")
    assert cookhouse(*RUN, "steps.squares.power=3", f"steps.squares.crash={crash}", "--until", "squares")[0] == 1
    monkeypatch.setenv("COOKHOUSE_HOME", home)
    unfinished = [
        folder
        for folders in Store(URL).listing("toy_squares").values()
        for folder in folders
        if "artifact.json" not in storage.names(folder)
    ]
    assert len(unfinished) == 1
    keys = [("key", "total"), ("key", "squares"), ("key", "numbers")]
    assert waste(cookhouse, "--keep-runs", "1") == keys
    lease = Lease.acquire(unfinished[0], run_id="there", step="squares")
    assert waste(cookhouse, "--keep-runs", "1") == keys[:2], "numbers is being read"
    lease.release()
