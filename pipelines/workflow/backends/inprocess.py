"""Attempts in the calling process, one after the other: for tests, for stepping through a stage with a debugger, and for a
command that is itself a job of a cluster (``RAY_ADDRESS``), whose nodes then do the work."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from pipelines.core import storage
from pipelines.core.redactor import CleanText
from pipelines.workflow.backends import Handle, JobState
from pipelines.workflow.backends.ray_executor import executor_here
from pipelines.workflow.execute import Spec, execute


class InProcess:
    name = "inprocess"

    def submit(self, spec: Spec, submission: str) -> Handle:
        handle = Handle(submission, storage.place(spec.attempt))
        printed = spec.open().dir / "logs" / "job.log"
        printed.parent.mkdir(parents=True, exist_ok=True)
        with (
            printed.open("a", encoding="utf-8", buffering=1) as file,
            CleanText(file) as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            execute(spec, executor_here)
        return handle

    def status(self, handle: Handle) -> JobState:
        return JobState.ENDED

    def logs(self, handle: Handle) -> str:
        return handle.printed()

    def cancel(self, handle: Handle) -> None:
        """Nothing to do: the interrupt that leads here has already ended the stage."""

    def describe(self) -> dict[str, Any]:
        return {"backend": self.name, "pid": os.getpid()}

    def close(self) -> None:
        """Nothing was started."""
