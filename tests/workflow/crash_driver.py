"""One run of the toy recipe in a process of its own that kills itself (SIGKILL) at the n-th thing it does to the disk.

Points are counted before and after every rename, link, fsync and unlink of the process and at the toy stages' own points,
so every moment at which the disk looks different to another process is among them.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import toy_stages
from toy_recipe import Quiet, make_plan_of, recipe

import pipelines.workflow.runner as runner_module
from pipelines.workflow.backends.inprocess import InProcess
from pipelines.workflow.runner import Rules, Runner
from pipelines.workflow.store import Store


class Points:
    """Counts; kills this process at ``kill_at``."""

    def __init__(self, kill_at: int | None) -> None:
        self.kill_at, self.count = kill_at, 0

    def reach(self) -> None:
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def around(self, owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.reach()
            value = real(*arguments, **options)
            self.reach()
            return value

        setattr(owner, name, call)


def drive(root: str, kill_at: int | None, report: str = "") -> None:
    """Run the toy recipe on the store at ``root``. Without a kill, ``report`` gets the number of points passed and how
    the steps ended."""
    points = Points(kill_at)
    for owner, name in ((os, "replace"), (os, "link"), (os, "fsync"), (pathlib.Path, "unlink")):
        points.around(owner, name)
    toy_stages.misbehave = lambda crash, point: points.reach()
    runner_module.POLL_S, runner_module.ASK_LEASE_S, runner_module.BACKOFF_S = 0.001, 0.005, (0.0,)
    store = Store(root)
    plan = make_plan_of(store, recipe(), wait=True)
    runner = Runner(store, plan, InProcess, Quiet(), run_id=f"r{os.getpid()}", rules=Rules(stop_wait_s=1))
    results = runner.run()
    if report:
        Path(report).write_text(
            json.dumps({"points": points.count, "steps": {name: result.status for name, result in results.items()}})
        )
