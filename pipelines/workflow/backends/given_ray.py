"""A Ray cluster that somebody else runs, by the address of its dashboard: ``http://head:8265``.

Nothing is started or ended here. The packages are installed on its nodes, and the store's root is one every node reaches
(an S3 URL or a shared file system). A token (``RAY_AUTH_TOKEN``) comes from the environment.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from pipelines.core.errors import InfraError
from pipelines.workflow.backends.local_ray import JOB_ENVIRONMENT, LEAN_MEMORY

GRACE_S = 30.0
"""A dashboard that is silent for less is busy; for longer, its cluster is taken for lost."""
PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION")
"""Variables of this process that a job on the cluster needs too and that are no secrets."""


class GivenRay:
    """``python`` is the interpreter of the cluster's nodes."""

    def __init__(self, address: str, *, python: str, start_timeout_s: float) -> None:
        self.address = address.rstrip("/")
        self.python, self.start_timeout_s = python, start_timeout_s
        self._answered = 0.0

    def client_environment(self) -> Mapping[str, str]:
        """Nothing beyond what the environment says already."""
        return {"RAY_AUTH_MODE": "token"} if os.environ.get("RAY_AUTH_TOKEN") else {}

    def job_environment(self) -> dict[str, str]:
        """What a local Ray has from its keeper, a job on another machine is given."""
        passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return {**LEAN_MEMORY, **JOB_ENVIRONMENT, **passed}

    def gcs_address(self) -> str | None:
        """Not known here; a job takes the one Ray tells it."""
        return None

    def start(self, *, keep: bool) -> bool:
        return False

    def wait(self) -> dict[str, Any]:
        """Raises InfraError when nothing answers at the address in ``start_timeout_s``."""
        deadline = time.monotonic() + self.start_timeout_s
        while True:
            found = self.state()
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise InfraError(
                    "the Ray cluster does not answer",
                    where=f"cluster.address = {self.address}",
                    why=f"no answer in {self.start_timeout_s:.0f} s",
                    do="check the address and RAY_AUTH_TOKEN; cluster=local starts a Ray on this machine",
                )
            time.sleep(0.5)

    def state(self) -> dict[str, Any] | None:
        """The addresses while the dashboard answers, or did ``GRACE_S`` ago; else None."""
        request = urllib.request.Request(f"{self.address}/api/version")
        if token := os.environ.get("RAY_AUTH_TOKEN"):
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=5):
                self._answered = time.monotonic()
        except (OSError, urllib.error.URLError):
            if not self._answered or time.monotonic() - self._answered > GRACE_S:
                return None
        return {"address": self.address, "dashboard": self.address}

    def release(self) -> None:
        """It is not ours."""
