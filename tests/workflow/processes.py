"""A backend of plain processes on this machine: several attempts at a time, no Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pipelines.workflow.backends import Handle, JobState
from pipelines.workflow.execute import Spec

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


class Processes:
    """``hold`` keeps submitted attempts waiting, as a busy cluster does."""

    name = "processes"

    def __init__(self, *, hold: bool = False, silent: bool = False) -> None:
        self.hold, self.silent = hold, silent
        self.running: dict[str, subprocess.Popen[bytes] | None] = {}

    def submit(self, spec: Spec, submission: str) -> Handle:
        handle = Handle(submission, Path(spec.attempt))
        environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{HERE}"}
        command = [sys.executable, "-m", "cookhouse.worker", str(handle.attempt / "spec.json")]
        if self.silent:
            command = [sys.executable, "-c", "import time; time.sleep(600)"]
        self.running[submission] = None if self.hold else subprocess.Popen(command, env=environment)
        return handle

    def status(self, handle: Handle) -> JobState:
        if handle.submission not in self.running:
            return JobState.LOST
        process = self.running[handle.submission]
        if process is None:
            return JobState.PENDING
        return JobState.RUNNING if process.poll() is None else JobState.ENDED

    def logs(self, handle: Handle) -> str:
        return handle.printed()

    def cancel(self, handle: Handle) -> None:
        process = self.running.get(handle.submission)
        if process is not None:
            process.terminate()
            process.wait()
        else:
            self.running.pop(handle.submission, None)

    def describe(self) -> dict[str, Any]:
        return {"backend": self.name}

    def close(self) -> None:
        for process in self.running.values():
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
