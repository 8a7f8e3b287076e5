"""The process of one attempt: ``python -m cookhouse.worker spec.json [RAY_ADDRESS]``, started as a Ray job or by hand.

It writes its own log into the attempt, runs the stage, commits the result and says how it ended in ``outcome.json``.
The exit code is 0 only for a committed result.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from pipelines.core import storage
from pipelines.core.secrets import secret_values
from pipelines.workflow import process
from pipelines.workflow.backends.ray_executor import executor_here
from pipelines.workflow.execute import Spec, execute
from pipelines.workflow.files import write_json


def main(path: str, address: str | None = None) -> int:
    """``address``: the Ray to join, default the one Ray tells its jobs."""
    spec = Spec.read(storage.place(path))
    attempt = spec.open()
    log = attempt.dir / "logs" / "job.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    click.echo(f"the log of this step is {log}")
    _write_output_to(log)
    write_json(attempt.place / "worker.json", process.identity())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that a stage can close what it holds
    outcome = execute(spec, lambda: executor_here(address))
    if outcome.status != "ok":
        click.echo(f"{outcome.failure} failure: {outcome.what} {outcome.why}")
    return 0 if outcome.status == "ok" else 1


def _write_output_to(log: Path) -> None:
    """Standard output and error of this process and its children go to a file of the attempt; through a process that
    hides the secrets of the environment when there are any."""
    if secret_values():
        command = [sys.executable, "-m", "pipelines.core.redactor", str(log)]
        cleaner = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        assert cleaner.stdin is not None
        handle = os.dup(cleaner.stdin.fileno())
        cleaner.stdin.close()
    else:
        handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
