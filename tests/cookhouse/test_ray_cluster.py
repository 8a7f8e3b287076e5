"""A given Ray cluster of three nodes: a lost worker node costs nothing, a lost head costs the units in flight."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import command

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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Kitchen:
    """A cluster with a head and two worker nodes on this machine, and commands that are sent to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "conf" / "recipe").mkdir(parents=True)
        (folder / "conf" / "recipe" / "spread.yaml").write_text(RECIPE)
        self.cluster: Any = None
        self.port = 0

    def start(self) -> None:
        from ray.cluster_utils import Cluster

        self.port = free_port()
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": True,
                "dashboard_host": "127.0.0.1",
                "dashboard_port": self.port,
                "dashboard_agent_listen_port": free_port(),
                "object_store_memory": 80_000_000,
            },
        )
        self.workers = [
            self.cluster.add_node(num_cpus=1, dashboard_agent_listen_port=free_port(), object_store_memory=80_000_000)
            for _ in range(2)
        ]
        self.cluster.wait_for_nodes()

    def stop(self) -> None:
        if self.cluster is not None:
            self.cluster.shutdown()
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
        )
        environment.pop("RAY_ADDRESS", None)
        line[1:3] = ["-c", DRIVER]
        return subprocess.Popen(
            line, env=environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for_units(self, count: int, driver: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 120
        while len(list(self.folder.glob("artifacts/toy_spread/*/attempts/*/units/*.json"))) < count:
            assert driver.poll() is None, driver.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def check(self) -> dict[str, Any]:
        (folder,) = (self.folder / "artifacts" / "toy_spread").iterdir()
        record = read_record(folder)
        assert record is not None
        artifact = record.open("spread")
        assert sorted(int(path.read_text()) for path in artifact.glob("parts/*")) == list(range(12))
        assert [path.name for path in folder.glob("artifact*.json")] == ["artifact.json"]
        return dict(record.data)


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kitchen]:
    import ray
    from commands import REPOSITORY, TOYS

    if ray.is_initialized():
        pytest.fail("this test needs a process of its own: run it with make test-slow")
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY}:{TOYS}")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    kitchen = Kitchen(tmp_path)
    kitchen.start()
    yield kitchen
    kitchen.stop()


@pytest.mark.slow
def test_the_raylet_of_a_worker_node_is_killed(kitchen: Kitchen) -> None:
    driver = kitchen.run()
    kitchen.wait_for_units(2, driver)
    kitchen.cluster.remove_node(kitchen.workers[0], allow_graceful=False)
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    assert "trying again" not in err, "tasks moved to the other node, the attempt went on"
    assert kitchen.check()["stats"]["made"] == 12


@pytest.mark.slow
def test_the_head_is_killed(kitchen: Kitchen) -> None:
    """The command says so and ends with 4; on a new cluster the same command goes on from the finished units."""
    driver = kitchen.run()
    kitchen.wait_for_units(3, driver)
    kitchen.cluster.remove_node(kitchen.cluster.head_node, allow_graceful=False)
    kitchen.stop()
    _, err = driver.communicate(timeout=300)
    assert driver.returncode == 4, err
    assert "its Ray is gone" in err or "does not answer" in err
    assert not list(kitchen.folder.glob("artifacts/toy_spread/*/artifact.json"))
    kitchen.start()
    driver = kitchen.run()
    out, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err
    made = kitchen.check()["stats"]["made"]
    assert made <= 9, f"at least three units were adopted, {made} made again: {json.dumps(out)}"
