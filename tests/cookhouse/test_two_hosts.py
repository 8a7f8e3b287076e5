"""The data recipe on two hosts that share no folder, a bucket as root: sent to their cluster, and as a job inside of it."""

from __future__ import annotations

import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import two_hosts
from commands import command
from s3_server import S3Server

from pipelines.workflow.attempt import read_units
from pipelines.workflow.store import Store

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
SIZE = ("--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats", "--block")
DATA = (
    *("recipe=data", "tracking=none", "steps.corpus.train_cards=24", "steps.corpus.test_cards=8"),
    *("steps.documents.workers=2", "steps.documents.unit_cost=4", "steps.videos.workers=2"),
)
STAGES = ("sample_corpus", "documents", "videos")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(two_hosts.missing()), reason=two_hosts.missing()),
]


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[two_hosts.Host]:
    """The first of two hosts with a Ray over both; an S3 server is on the bridge between them."""
    with two_hosts.bridge() as middle:
        server = S3Server(middle)
        urllib.request.urlopen(urllib.request.Request(f"{server.url}/kitchen", method="PUT"), timeout=10)
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "COOKHOUSE_HOME": str(tmp_path / "home"),
            "RAY_AUTH_MODE": "disabled",
        }.items():
            monkeypatch.setenv(name, value)
        first, second = f"{two_hosts.NET}.1", f"{two_hosts.NET}.2"
        dashboard = ("--include-dashboard=true", f"--dashboard-host={first}", "--dashboard-port=8265")
        one = [*RAY, "start", "--head", f"--node-ip-address={first}", "--port=6379", *dashboard, *SIZE]
        two = [*RAY, "start", f"--address={first}:6379", f"--node-ip-address={second}", *SIZE]
        try:
            with two_hosts.host(1, one) as made, two_hosts.host(2, two):
                wait = "import ray, time; ray.init(address='auto')\nwhile len(ray.nodes()) < 2: time.sleep(0.2)"
                said = made.run(["sh", "-c", f"until {shlex.join([sys.executable, '-c', wait])}; do sleep 1; done"])
                assert said.returncode == 0, said.stderr
                yield made
        finally:
            server.close()


def check(url: str, here: Path) -> None:
    """Both hosts left receipts, and the bytes are those of this process's own run."""
    hosts = set()
    for stage in STAGES:
        (there,), (alone,) = (list(Store(root).records(stage)) for root in (url, here))
        assert (there.key, there.content_digest) == (alone.key, alone.content_digest), stage
        for _, path in Store(url).attempts(there.folder):
            hosts |= {unit.host for name, unit in read_units(path).items() if name != "plan" and stage == "documents"}
    assert hosts == {"ckhost1", "ckhost2"}


def test_the_data_recipe_on_two_hosts_without_a_folder_in_common(head: two_hosts.Host, tmp_path: Path) -> None:
    line, environment = command("run", *DATA, "--backend", "inprocess", f"storage.root={tmp_path / 'here'}")
    subprocess.run(line, env=environment, cwd=tmp_path, check=True)

    dashboard = f"http://{head.address}:8265"
    cluster = ("cluster=ray", f"cluster.address={dashboard}", f"cluster.python={sys.executable}")
    line, environment = command("run", *DATA, *cluster, "storage.root=s3://kitchen/sent")
    sent = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert sent.returncode == 0, sent.stderr
    check("s3://kitchen/sent", tmp_path / "here")

    inside = [
        sys.executable,
        "-m",
        "cookhouse",
        "run",
        *DATA,
        "--backend",
        "inprocess",
        "storage.root=s3://kitchen/inside",
    ]
    said = head.run([*RAY, "job", "submit", f"--address={dashboard}", "--", *inside])
    assert said.returncode == 0, said.stdout + said.stderr
    check("s3://kitchen/inside", tmp_path / "here")
