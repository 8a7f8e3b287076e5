"""Fixtures of the whole house: one Ray for a test session, and the folders of committed and shared test data."""

from __future__ import annotations

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is not a slow function.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

# Started in the background of a script, a process inherits an ignored Ctrl-C, and so would every command under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "workflow"))  # the toy stages and the S3 server


@dataclass(frozen=True)
class RaySession:
    """The one Ray of the session. ``root`` is a store root whose ``cookhouse`` commands attach to it."""

    root: Path
    cluster: Any


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaySession]:
    """A local Ray with 2 CPUs, started and ended as ``cookhouse up`` and ``down`` do; this process is connected to
    it."""
    from pipelines.core.executor import Resources
    from pipelines.workflow import process
    from pipelines.workflow.backends.local_ray import LocalRay

    paths = [str(REPOSITORY), str(REPOSITORY / "tests" / "workflow"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    root = tmp_path_factory.mktemp("ray_session")
    cluster = LocalRay(root, Resources(2), object_store_mb=200, start_timeout_s=300, stop_wait_s=10)
    cluster.start(keep=True)
    try:
        state = cluster.wait()
        os.environ.update(cluster.client_environment)
        import ray

        ray.init(address=state["address"], log_to_driver=False, configure_logging=False)
        yield RaySession(root, cluster)
        ray.shutdown()
    finally:
        keeper = (cluster.state() or {}).get("keeper")
        cluster.stop()
    assert keeper
    assert not process.is_alive(keeper), "ending the local Ray ends its process"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that lets the toy stages make two units, and the rest once it is gone."""
    path = tmp_path / "gate"
    path.write_text("2")
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """One S3 server (``tests/workflow/s3_server.py``) for the session."""
    from s3_server import S3Server

    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server with an empty bucket ``kitchen``, and this process's environment pointed at it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("COOKHOUSE_HOME", str(tmp_path / "home"))
    urllib.request.urlopen(urllib.request.Request(f"{s3_server.url}/moto-api/reset", method="POST"), timeout=10)
    urllib.request.urlopen(urllib.request.Request(f"{s3_server.url}/kitchen", method="PUT"), timeout=10)
    s3_server.requests.clear()
    return s3_server


SKIPS: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        SKIPS[report.nodeid] = report.longrepr[2].removeprefix("Skipped: ")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip nobody allowed (tests/allowed_skips.json) is a test that silently stopped testing: the run fails."""
    if any(not _allowed(reason) for reason in SKIPS.values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.section("skipped tests")
    for test, reason in sorted(SKIPS.items()):
        terminalreporter.write_line(f"{'allowed ' if _allowed(reason) else 'SURPRISE'} {test}: {reason}")
    terminalreporter.write_line(f"{len(SKIPS)} skipped")


def _allowed(reason: str) -> bool:
    return any(part in reason for part in json.loads((REPOSITORY / "tests" / "allowed_skips.json").read_text()))
