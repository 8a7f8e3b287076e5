"""The documents stage in a process of its own that kills itself (SIGKILL) at the n-th thing it does to the disk or to a
shard."""

from __future__ import annotations

import os
import pathlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stage_runs import run_stage_inprocess

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.shards.writer import ShardWriter

OPTIONS: dict[str, Any] = {"unit_cost": 24, "views_per_page": 2, "ocr": False, "max_quarantine_share": 1.0}


def drive(source: str, store: str, kill_at: int | None, report: str) -> None:
    """Run the stage; at point ``kill_at`` die. Without a kill ``report`` gets the number of points passed."""
    passed = 0

    def reach() -> None:
        nonlocal passed
        if passed == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        passed += 1

    def around(owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            reach()
            value = real(*arguments, **options)
            reach()
            return value

        setattr(owner, name, call)

    for owner, name in ((os, "replace"), (os, "link"), (os, "fsync"), (pathlib.Path, "unlink"), (ShardWriter, "add")):
        around(owner, name)
    run_stage_inprocess(build_document_shards, DocumentShards(source=source, **OPTIONS), {}, Path(store))
    Path(report).write_text(str(passed))
