"""A given Ray cluster of three nodes: a lost worker node costs nothing, a lost head costs the units in flight."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_process import free_port
from commands import REPOSITORY, TOYS, command, until

from pipelines.workflow.store import read_record

DRIVER = """
import sys
from pipelines.workflow.backends import given_ray
given_ray.GRACE_S = 3.0
from cookhouse.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
RECIPE = """\
# @package _global_
steps:
  spread: {stage: "toy_stages:spread"}
"""


class Kitchen:
    """A cluster with a head and two worker nodes on this machine, and commands that are sent to it; their tasks wait at
    the gate."""

    def __init__(self, folder: Path, gate: Path) -> None:
        self.folder, self.gate = folder, gate
        (folder / "conf" / "recipe").mkdir(parents=True)
        (folder / "conf" / "recipe" / "spread.yaml").write_text(RECIPE)
        self.cluster: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        self.port = free_port()
        script = Path(__file__).with_name("cluster_process.py")
        self.cluster = subprocess.Popen(
            [sys.executable, str(script), str(self.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.wait_for("ready")

    def wait_for(self, word: str) -> None:
        """Until the cluster's process says it; Ray may say other things before."""
        assert self.cluster is not None
        assert self.cluster.stdout is not None
        while (said := self.cluster.stdout.readline()).strip() != word:
            assert said, "the cluster's process ended"

    def lose(self, node: str) -> None:
        """Kill a node with SIGKILL: ``worker`` or ``head``."""
        assert self.cluster is not None
        assert self.cluster.stdin is not None
        self.cluster.stdin.write(f"lose {node}\n")
        self.cluster.stdin.flush()
        self.wait_for("done")

    def stop(self) -> None:
        if self.cluster is not None:
            self.cluster.communicate(timeout=120)
            self.cluster = None

    def run(self) -> subprocess.Popen[str]:
        line, environment = command(
            "run",
            "recipe=spread",
            "tracking=none",
            "cluster=ray",
            f"cluster.address=http://127.0.0.1:{self.port}",
            "cluster.shared_root=true",
            f"cluster.python={sys.executable}",
            "cluster.start_timeout_s=60",
            f"storage.root={self.folder / 'artifacts'}",
            f"steps.spread.gate={self.gate}",
        )
        environment.pop("RAY_ADDRESS", None)
        line[1:3] = ["-c", DRIVER]
        return subprocess.Popen(
            line, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def at_the_gate(self, driver: subprocess.Popen[str]) -> None:
        """Until two units are made; the others wait."""
        units = "artifacts/toy_spread/*/attempts/*/units/u1.json"
        until(lambda: list(self.folder.glob(units)), driver)

    def check(self) -> dict[str, Any]:
        (folder,) = (self.folder / "artifacts" / "toy_spread").iterdir()
        record = read_record(folder)
        assert record is not None
        artifact = record.open("spread")
        assert sorted(int(path.read_text()) for path in artifact.glob("parts/*")) == list(range(12))
        assert [path.name for path in folder.glob("artifact*.json")] == ["artifact.json"]
        return dict(record.data)


@pytest.fixture
def kitchen(tmp_path: Path, gate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kitchen]:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{TOYS}")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    kitchen = Kitchen(tmp_path, gate)
    try:
        kitchen.start()
        yield kitchen
    finally:
        kitchen.stop()


@pytest.mark.slow
def test_the_raylet_of_a_worker_node_is_killed(kitchen: Kitchen) -> None:
    driver = kitchen.run()
    kitchen.at_the_gate(driver)
    kitchen.lose("worker")
    kitchen.gate.unlink()
    _, err = driver.communicate()
    assert driver.returncode == 0, err
    assert "trying again" not in err, "tasks moved to the other node, the attempt went on"
    assert kitchen.check()["stats"]["made"] == 12


@pytest.mark.slow
def test_the_head_is_killed(kitchen: Kitchen) -> None:
    """The command says so and ends with 4; on a new cluster the same command goes on from the finished units."""
    driver = kitchen.run()
    kitchen.at_the_gate(driver)
    kitchen.lose("head")
    kitchen.stop()
    _, err = driver.communicate()
    assert driver.returncode == 4, err
    assert "its Ray is gone" in err or "does not answer" in err
    assert not list(kitchen.folder.glob("artifacts/toy_spread/*/artifact.json"))
    kitchen.gate.unlink()
    kitchen.start()
    driver = kitchen.run()
    _, err = driver.communicate()
    assert driver.returncode == 0, err
    assert kitchen.check()["stats"]["made"] == 10, "two units were adopted"
