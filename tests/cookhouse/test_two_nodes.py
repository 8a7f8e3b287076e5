"""A bucket as root and nodes with no folder in common: each carries its own units up, and the bytes are those of one
process. The command runs inside the cluster (``RAY_ADDRESS``), as a job of it does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import command, until
from walled_nodes import environment

from pipelines.workflow.attempt import Unit, read_units
from pipelines.workflow.store import Store

URL = "s3://kitchen/walled"
DATA = (
    *("recipe=data", "tracking=none", "--backend", "inprocess", "--until", "documents"),
    *("steps.corpus.train_cards=24", "steps.corpus.test_cards=8"),
    *("steps.documents.workers=2", "steps.documents.unit_cost=4"),
)
SPREAD = "# @package _global_\nsteps:\n  spread: {stage: 'toy_stages:spread'}\n"


class Nodes:
    """The cluster's process and what runs on its head."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        line = [sys.executable, str(Path(__file__).with_name("walled_nodes.py")), str(folder)]
        plain = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        self.process = subprocess.Popen(line, env=plain, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = self.hear("ready").split()[1]

    def hear(self, word: str) -> str:
        assert self.process.stdout is not None
        while not (said := self.process.stdout.readline()).startswith(word):
            assert said, "the cluster's process ended"
        return said

    def lose(self, name: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"lose {name}\n")
        self.process.stdin.flush()
        self.hear("done")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        changes = {**environment(self.folder, "head"), "RAY_ADDRESS": self.address}
        line, _ = command("run", *arguments, f"storage.root={URL}")
        return subprocess.Popen(
            line,
            env={**os.environ, **changes},
            cwd=self.folder / "head" / "work",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def nodes(s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    made = Nodes(tmp_path / "nodes")
    try:
        yield made
    finally:
        made.process.communicate(timeout=120)


def units_of(stage: str) -> dict[str, Unit]:
    """The receipts of every attempt at a stage's only key."""
    store = Store(URL)
    (folders,) = store.listing(stage).values() or ((),)
    return {
        name: unit
        for folder in folders
        for _, path in store.attempts(folder)
        for name, unit in read_units(path).items()
    }


def node_of(unit: Unit) -> str:
    return Path(unit.folder).parts[Path(unit.folder).parts.index("nodes") + 1]


def test_processes_refuse_what_is_of_another_node(tmp_path: Path) -> None:
    for name in ("one", "two"):
        changes = environment(tmp_path, name)
        (tmp_path / name / "tmp" / "note").write_text(name)
    line = [sys.executable, "-c", "import sys; print(open(sys.argv[1]).read())"]
    said = [
        subprocess.run(
            [*line, str(tmp_path / name / "tmp" / "note")], env={**os.environ, **changes}, capture_output=True
        )
        for name in ("one", "two")
    ]
    assert b"PermissionError" in said[0].stderr
    assert said[1].stdout.strip() == b"two"


def test_both_nodes_make_units_and_the_bytes_are_those_of_one_process(nodes: Nodes, tmp_path: Path) -> None:
    driver = nodes.start(*DATA)
    _, err = driver.communicate()
    assert driver.returncode == 0, err
    units = units_of("documents")
    assert {node_of(units[name]) for name in units if name != "plan"} == {"one", "two"}
    assert node_of(units["plan"]) == "head"
    assert all(unit.host for unit in units.values())
    line, _ = command("run", *DATA, f"storage.root={tmp_path / 'here'}")
    subprocess.run(line, env={**os.environ, **environment(tmp_path / "alone", "head")}, check=True, capture_output=True)
    for stage in ("sample_corpus", "documents"):
        (there,), (here,) = (list(Store(root).records(stage)) for root in (URL, tmp_path / "here"))
        assert (there.key, there.content_digest) == (here.key, here.content_digest), stage


def test_a_lost_node_costs_its_units_in_flight(nodes: Nodes, gate: Path) -> None:
    recipe = nodes.folder / "head" / "work" / "conf" / "recipe"
    recipe.mkdir(parents=True)
    (recipe / "spread.yaml").write_text(SPREAD)
    driver = nodes.start("recipe=spread", "tracking=none", "--backend", "inprocess", f"steps.spread.gate={gate}")
    before = until(lambda: len(found := units_of("toy_spread")) == 2 and found, driver)
    nodes.lose("two")
    gate.unlink()
    _, err = driver.communicate()
    assert driver.returncode == 0, err
    (record,) = Store(URL).records("toy_spread")
    assert record.data["stats"]["made"] == 12
    assert "trying again" not in err, "the units moved to the other node, the attempt went on"
    after = units_of("toy_spread")
    assert {name: after[name] for name in before} == before, "what was finished was not made again"
    artifact = record.open("spread")
    assert sorted(int(path.read_text()) for path in artifact.glob("parts/*")) == list(range(12))
