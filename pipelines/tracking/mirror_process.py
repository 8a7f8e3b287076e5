"""The mirror's own process: ``python -m pipelines.tracking.mirror_process ROOT RUN...``.

It follows the runs until their ends were delivered. While the store is away it tries again with growing pauses; once the
driver is gone it tries for ``PATIENCE`` seconds more and leaves the rest to the next mirror, which first delivers its
own runs and then catches up with the newest unfinished ones.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.core.errors import first_line
from pipelines.core.secrets import redact
from pipelines.tracking import state
from pipelines.tracking.apply import Mirror
from pipelines.tracking.files import driver_gone
from pipelines.tracking.mirror import ENDS, URI

POLL, PATIENCE, LONGEST_PAUSE, LINGER = 0.5, 20.0, 15.0, 6 * 3600.0
"""Seconds: between looks at least (they take a twentieth of the time at most), with an absent store after the driver left,
between its retries, with jobs that outlive it."""
CATCH_UP = 5


def follow(mirror: Mirror, closing: threading.Event, patience: float = PATIENCE, linger: float = LINGER) -> bool:
    """Look until everything was delivered (True) or patience with the store ended (False). Never raises.

    A driver that closed without an end was killed. Its job may go on, so the mirror lingers until the steps in flight
    have ended too, at most ``linger`` seconds, and then calls the run killed."""
    pause, warned, give_up, left = POLL, False, None, None
    while not mirror.done:
        gone, began = closing.is_set(), time.monotonic()
        left = (left or began) if gone else None
        try:
            mirror.look(gone=gone, leave=left is not None and began - left >= linger)
            trouble = mirror.missing > 0
        except Exception as error:  # whatever the store raises, the run must not feel it
            trouble = True
            if not warned:
                text = f"{type(error).__name__}: {first_line(error)}"
                mirror.warn(f"store not reachable, events stay in JSONL: {text}")
                warned = True
        pause = min(pause * 2, LONGEST_PAUSE) if trouble else max(POLL, 20 * (time.monotonic() - began))
        if not trouble:
            give_up = None
        elif gone:
            give_up = give_up or time.monotonic() + patience
            if time.monotonic() >= give_up:
                return False
            pause = min(pause, 2.0)
        if gone and not mirror.done:
            time.sleep(pause)
        elif not mirror.done:
            closing.wait(pause)
    return True


def sync(root: Path, run_id: str, uri: str, warn: Callable[[str], None] = print) -> bool:
    """Deliver a run again from its files: after an outage, or into another store. Returns whether everything of it is there;
    a run that goes on is left to its own mirror. A run without an end counts as killed."""
    with state.only_mirror(root / "runs" / run_id, warn) as mine:
        if not mine or not driver_gone(root, run_id):
            return False
        closing = threading.Event()
        closing.set()
        return follow(Mirror(root, [run_id], uri, warn=warn), closing, patience=0.0, linger=0.0)


def unfinished(root: Path, uri: str, besides: Sequence[str]) -> list[str]:
    """The newest runs of which this store does not have everything and whose driver is gone, newest first."""
    runs = sorted((root / "runs").glob("*/events.jsonl"), key=lambda path: -path.stat().st_mtime)
    found = (
        events.parent.name
        for events in runs[:50]
        if events.parent.name not in besides and state.load(events.parent, uri).get("status") not in ENDS
    )
    return [name for name in found if driver_gone(root, name)][:CATCH_UP]


def main(arguments: list[str]) -> int:
    root, run_ids, uri = Path(arguments[0]), arguments[1:], os.environ[URI]
    os.nice(5)
    closing = threading.Event()

    def wait_for_driver() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        closing.set()

    threading.Thread(target=wait_for_driver, daemon=True).start()

    def warn(text: str) -> None:
        sys.stdout.write(f"tracking: {redact(text)}\n")  # mirror.log
        sys.stdout.flush()

    with contextlib.ExitStack() as locks:
        mine = [name for name in run_ids if locks.enter_context(state.only_mirror(root / "runs" / name, warn))]
        if not mine:
            return 0
        delivered = follow(Mirror(root, mine, uri, warn=warn), closing)
    if delivered:
        for other in unfinished(root, uri, besides=run_ids):
            try:
                sync(root, other, uri, warn)
            except Exception as error:  # whatever the store raises, the run must not feel it
                warn(f"run {other} could not be caught up: {type(error).__name__}: {first_line(error)}")
    return 0 if delivered else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
