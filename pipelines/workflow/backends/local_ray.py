"""A Ray on this machine, described by one state file, started and ended by process id and never by ``ray stop``.

``{root}/.cookhouse/cluster.json`` names the keeper process (pid and start time), its addresses and the commands that
use it. The next command reattaches while the keeper lives; the last user ends it unless it was started to stay.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipelines.core.errors import InfraError
from pipelines.core.executor import Resources
from pipelines.core.storage import INSTALLED
from pipelines.workflow import process
from pipelines.workflow.files import locked, read_json, write_json

JOB_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Set in the keeper and so in every process of its cluster. ``uv run`` must not rebuild environments for workers."""

STARTS = 3
"""Ray gives its own parts 30 s to come up and ends when a busy machine needs longer; then it is started again."""


LEAN_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
    "LRU_CACHE_CAPACITY": "32",
}
"""Unless the user says otherwise: packs differ in size at every training step. glibc's heap would keep the holes they
leave, and oneDNN keeps a compiled primitive with its buffers for each of 1,024 shapes (2 GB a worker); neither is of use
when no shape comes back. Large blocks are asked for in huge pages (glibc 2.35 and newer): a tenth of the page faults,
5-7 % of a training step. No number changes by it."""


class LocalRay:
    """The local Ray of one store root, with the CPUs, GPUs and memory it is given. Nothing is started before
    :meth:`start`. ``python`` is the interpreter of its nodes; ``stop_wait_s`` what a cancelled job gets to end."""

    python = sys.executable
    job_environment: Mapping[str, str] = {}  # every process of this Ray has its keeper's

    def __init__(
        self, root: Path, has: Resources, *, object_store_mb: int, start_timeout_s: float, stop_wait_s: float
    ) -> None:
        self.has, self.object_store_mb = has, object_store_mb
        self.start_timeout_s, self.stop_wait_s = start_timeout_s, stop_wait_s
        self.folder = root / ".cookhouse"
        self.state_file, self.ready_file = self.folder / "cluster.json", self.folder / "ready.json"
        self.token_file, self.log_file = self.folder / "ray_token", self.folder / "ray.log"
        name = hashlib.sha256(str(self.folder).encode()).hexdigest()[:6]
        base = tempfile.gettempdir()
        # Ray puts unix sockets 60 characters below this folder and the system allows 107 in all
        self.temp_dir = Path(base if len(base) <= 30 else "/tmp") / f"ck-{os.getuid()}-{name}"

    @property
    def client_environment(self) -> dict[str, str]:
        """What a process needs to be let in: the token, by path."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}

    def state(self) -> dict[str, Any] | None:
        """What the state file says, and once Ray is up its ``address`` and ``dashboard``; None when its keeper is gone."""
        value = read_json(self.state_file)
        return value | (read_json(self.ready_file) or {}) if value and process.is_alive(value["keeper"]) else None

    def start(self, *, keep: bool) -> bool:
        """Attach to the living Ray or start one, without waiting for it. True when it was started here."""
        with self._lock():
            state = self.state()
            before = state or {"users": [], "keep": (read_json(self.state_file) or {}).get("keep", False)}
            if state is None:
                self._discard()
                before |= {"keeper": self._spawn(), "temp_dir": str(self.temp_dir)}
            users = [*(user for user in before["users"] if process.is_alive(user)), process.identity()]
            write_json(self.state_file, {**before, "users": users, "keep": before["keep"] or keep})
            return state is None

    def wait(self) -> dict[str, Any]:
        """The state once Ray is up. Raises InfraError when it does not come up."""
        deadline = time.monotonic() + self.start_timeout_s
        starts = 1
        what = f"did not come up in {self.start_timeout_s:.0f} s"
        do = "cookhouse down, then try again, or give cluster.start_timeout_s=300"
        while time.monotonic() < deadline:
            state = self.state()
            if state is not None and "dashboard" in state:
                return state
            if state is None and starts == STARTS:
                what, do = "ended while it was starting", "see the log; cookhouse doctor checks memory and disk"
                break
            if state is None:
                starts += 1
                self.start(keep=False)
            time.sleep(0.05)
        printed = self.log_file.read_text(errors="replace") if self.log_file.is_file() else ""
        last = ([line for line in printed.splitlines() if line.strip()] or ["it printed nothing"])[-1][:300]
        raise InfraError(f"the local Ray {what}", where=str(self.log_file), why=last, do=do)

    def release(self) -> None:
        """This command is done with it: end Ray unless it is kept or another living command uses it."""
        with self._lock():
            state = self.state()
            if state is None:
                return
            me = process.identity()
            users = [user for user in state["users"] if user != me and process.is_alive(user)]
            write_json(self.state_file, {**state, "users": users})
            if not users and not state["keep"]:
                self._end(state)

    def stop(self) -> bool:
        """End Ray whoever uses it. False when none was running."""
        with self._lock():
            state = self.state()
            if state is not None:
                self._end(state)
            self._discard()
            return state is not None

    def _spawn(self) -> dict[str, Any]:
        if not self.token_file.exists():
            self.token_file.touch(0o600)
            self.token_file.write_text(secrets.token_hex(32))
        self.temp_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = {
            "ready_file": str(self.ready_file),
            "agent_port": _free_port(),
            "init": {
                "num_cpus": self.has.cpus,
                "num_gpus": self.has.gpus,
                "_memory": self.has.memory or None,
                "object_store_memory": self.object_store_mb * 1_000_000,
                "dashboard_port": _free_port(),
                "_temp_dir": str(self.temp_dir),
            },
        }
        write_json(self.folder / "keeper.json", options)
        with self.log_file.open("w") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "pipelines.workflow.backends.keeper", str(self.folder / "keeper.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,  # not the caller's: a types.py there would shadow the standard library's
                env=self._environment(os.environ),
            )
        return process.identity(keeper.pid)

    def _environment(self, given: Mapping[str, str]) -> dict[str, str]:
        paths = [str(INSTALLED), *given.get("PYTHONPATH", "").split(os.pathsep)]
        kept = {name: value for name, value in given.items() if name not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")}
        own = {
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(path for path in paths if path)),
            "RAY_JOB_STOP_WAIT_TIME_S": str(int(self.stop_wait_s)),
        }
        return LEAN_MEMORY | kept | JOB_ENVIRONMENT | self.client_environment | own

    def _end(self, state: Mapping[str, Any]) -> None:
        """SIGTERM to the keeper, SIGKILL to its own session when it does not listen."""
        pid = int(state["keeper"]["pid"])
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while process.is_alive(state["keeper"]):
            with suppress(ChildProcessError):  # our child must not stay as a zombie
                os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                deadline += 20
            time.sleep(0.05)
        self._discard()
        shutil.rmtree(state["temp_dir"], ignore_errors=True)

    def _discard(self) -> None:
        for file in (self.ready_file, self.state_file):
            file.unlink(missing_ok=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.folder / "lock"):
            yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
