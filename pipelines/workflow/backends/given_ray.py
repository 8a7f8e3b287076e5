"""A Ray cluster that somebody else runs, by the address of its dashboard: ``http://head:8265``.

Nothing is started or ended here. The packages are installed on its nodes, and the store's root is one every node reaches
(an S3 URL or a shared file system). A token comes from the environment, as Ray's own tools take it: ``RAY_AUTH_TOKEN``, or
a file ``RAY_AUTH_TOKEN_PATH``.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigError, InfraError
from pipelines.workflow.backends.local_ray import JOB_ENVIRONMENT, LEAN_MEMORY

GRACE_S = 30.0
"""A dashboard that is silent for less is busy; for longer, its cluster is taken for lost."""
ANSWER_S = 5.0
PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION")
"""Variables of this process that a job on the cluster needs too and that are no secrets."""


class GivenRay:
    """``python`` is the interpreter of the cluster's nodes."""

    def __init__(self, address: str, *, python: str, start_timeout_s: float) -> None:
        self.address, self.python, self.start_timeout_s = address.rstrip("/"), python, start_timeout_s
        self._answered = 0.0

    @property
    def client_environment(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token"} if _token() else {}

    @property
    def job_environment(self) -> dict[str, str]:
        """What a local Ray has from its keeper, a job on another machine is given."""
        return LEAN_MEMORY | JOB_ENVIRONMENT | {name: os.environ[name] for name in PASSED_ON if name in os.environ}

    def start(self, *, keep: bool) -> bool:
        return False

    def wait(self) -> dict[str, Any]:
        """Raises ConfigError when the dashboard refuses the token, InfraError when nothing answers at the address in
        ``start_timeout_s``."""
        deadline = time.monotonic() + self.start_timeout_s
        while (found := self.state()) is None:
            if time.monotonic() > deadline:
                where, why = f"cluster.address = {self.address}", f"no answer in {self.start_timeout_s:.0f} s"
                do = "check the address; cluster=local starts a Ray on this machine"
                raise InfraError("the Ray cluster does not answer", where=where, why=why, do=do)
            time.sleep(0.5)
        return found

    def state(self) -> dict[str, Any] | None:
        """Where it is, while the dashboard answers or did ``GRACE_S`` ago; else None. What a job joins is not known here; it
        takes the ``RAY_ADDRESS`` that Ray tells it. Raises ConfigError for a token that is refused."""
        token = _token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            request = urllib.request.Request(f"{self.address}/api/version", headers=headers)
            with urllib.request.urlopen(request, timeout=ANSWER_S):
                self._answered = time.monotonic()
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403):
                raise ConfigError(
                    "the Ray cluster refuses the token",
                    where=f"cluster.address = {self.address}",
                    why=f"HTTP {error.code} (401: none was sent, 403: another one is wanted)",
                    do="set RAY_AUTH_TOKEN to the cluster's token, or RAY_AUTH_TOKEN_PATH to a file that holds it",
                ) from error
            if not self._answered or time.monotonic() - self._answered > GRACE_S:
                return None
        return {"dashboard": self.address}

    def release(self) -> None:
        """It is not ours."""


def _token() -> str:
    """Raises ConfigError for a file that cannot be read."""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        return os.environ.get("RAY_AUTH_TOKEN") or (Path(path).expanduser().read_text().strip() if path else "")
    except OSError as error:
        where = f"RAY_AUTH_TOKEN_PATH = {path}"
        raise ConfigError("the token of the Ray cluster cannot be read", where=where, why=str(error)) from error
