"""The toy stages as modules of their own, importable here and in worker processes."""

import functools
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from s3_server import S3Server
from toy_recipe import make_plan_of

from pipelines.workflow.plan import Plan
from pipelines.workflow.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for the session."""
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def s3(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
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


@pytest.fixture
def planned(store: Store) -> Callable[..., Plan]:
    """``planned(recipe(), limit=, only=, until=, force=)`` against the store."""
    return functools.partial(make_plan_of, store)
