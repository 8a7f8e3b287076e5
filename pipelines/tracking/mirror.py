"""Start and end the mirror of a pipeline run: one process, no mlflow here.

    handle = start_mirror(root, [run_id], "sqlite:///.../mlflow.db")
    ...                                   # the driver appends to runs/{run_id}/events.jsonl
    handle.close(timeout=5.0)             # wait a little for the drain; the process goes on alone if it needs longer

The driver only holds a pipe. Its end of file tells the mirror that no more events will come, whether the driver
closed it, crashed or was killed with -9; the mirror has a session of its own, so Ctrl-C does not reach it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.storage import INSTALLED
from pipelines.tracking import state

ENDS = ("FINISHED", "FAILED", "KILLED")
URI = "COOKHOUSE_TRACKING_URI"
"""Environment variable that tells the mirror's process where to write."""


@dataclass
class MirrorHandle:
    """The driver's end. ``folders`` are those of the runs; ``process`` is None when the mirror could not be started."""

    folders: Sequence[Path]
    uri: str
    process: subprocess.Popen[bytes] | None
    log: Path

    def close(self, timeout: float = 5.0) -> bool:
        """No more events will come. Waits at most ``timeout`` seconds; True when everything was delivered by then.
        Never raises. The mirror is not stopped: it finishes, or gives up and leaves the rest to ``sync``."""
        if self.process is None:
            return False
        if self.process.stdin:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        end = time.monotonic() + timeout
        while not self.delivered() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        return self.delivered()

    def delivered(self) -> bool:
        """Whether the store knows the end of every run."""
        return all(state.load(folder, self.uri).get("status") in ENDS for folder in self.folders)


def start_mirror(root: Path, run_ids: Sequence[str], uri: str) -> MirrorHandle:
    """Start the mirror process of ``{root}/runs/{run_id}`` and return at once; one process for all runs of a sweep. Never
    raises: without a mirror the events stay in JSONL. The address goes by the environment: it may hold a password, and
    anybody can list arguments."""
    folders = [root.absolute() / "runs" / run_id for run_id in run_ids]
    log = folders[0] / "mirror.log"
    command = [sys.executable, "-m", "pipelines.tracking.mirror_process", str(root.absolute()), *run_ids]
    paths = [str(INSTALLED), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "OMP_NUM_THREADS": "1", URI: uri}
    process = None
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, start_new_session=True
            )
    return MirrorHandle(folders, uri, process, log)
