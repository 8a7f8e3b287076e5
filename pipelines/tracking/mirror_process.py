"""The mirror's own process: ``python -m pipelines.tracking.mirror_process ROOT RUN...``.

It follows the run until its end was delivered. While the store is away it tries again with growing pauses; once the
driver is gone it tries for ``PATIENCE`` seconds more and leaves the rest to the next mirror, which first delivers its
own run and then catches up with the newest unfinished ones.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.core.errors import first_line
from pipelines.core.secrets import redact
from pipelines.core.storage import INSTALLED
from pipelines.tracking import state
from pipelines.tracking.follow import Follower
from pipelines.tracking.mirror import URI
from pipelines.tracking.sink import Sink

POLL, PATIENCE, LONGEST_PAUSE, LINGER = 0.5, 20.0, 15.0, 6 * 3600.0
"""Seconds: between looks, with an absent store after the driver left, between its retries, with jobs that outlive
it."""
CATCH_UP = 5


def follow_run(
    follower: Follower | Together, closing: threading.Event, patience: float = PATIENCE, linger: float = LINGER
) -> bool:
    """Pump until the end of the run was delivered (True) or patience with the store ended (False). Never raises.

    A driver that closed without an end was killed. Its job may go on, so the mirror lingers until the steps in flight
    have ended too, at most ``linger`` seconds, and then calls the run killed."""
    pause, warned, give_up, leave = POLL, False, None, None
    while not follower.done:
        last_call = closing.is_set()
        try:
            handled = follower.pump()
            pause, give_up = POLL, None
            if last_call and not handled and not follower.done:
                leave = leave or time.monotonic() + linger
                if follower.settle() or time.monotonic() >= leave:
                    follower.end("KILLED")
        except Exception as error:  # whatever the store raises, the run must not feel it
            if not warned:
                text = f"{type(error).__name__}: {first_line(error)}"
                follower.warn(f"store not reachable, events stay in JSONL: {text}")
                warned = True
            pause = min(pause * 2, LONGEST_PAUSE)
            if last_call:
                give_up = give_up or time.monotonic() + patience
                if time.monotonic() >= give_up:
                    return False
                pause = min(pause, 2.0)
        if follower.done:
            break
        if last_call:
            time.sleep(pause)
        else:
            closing.wait(pause)
    return True


def sync(root: Path, run_id: str, uri: str, warn: Callable[[str], None] = print) -> bool:
    """Deliver a run again from its files: after an outage, or into another store. Returns whether its end is there;
    a run that another mirror follows now is left alone. A run without an end counts as killed when its driver is."""
    folder = root / "runs" / run_id
    with state.only_mirror(folder) as mine:
        if not mine:
            return False
        follower = Follower(root, run_id, uri, warn=warn, git=git_tags())
        closing = threading.Event()
        closing.set()
        return follow_run(follower, closing, patience=0.0, linger=0.0)


def unfinished(root: Path, uri: str, besides: Sequence[str]) -> list[str]:
    """The newest runs whose end this store does not know and whose driver is gone, newest first."""
    found = []
    runs = sorted((path for path in (root / "runs").glob("*/events.jsonl")), key=lambda path: -path.stat().st_mtime)
    for events in runs[:50]:
        folder = events.parent
        if folder.name in besides or state.load(folder, uri).get("status") in ("FINISHED", "FAILED", "KILLED"):
            continue
        if not _running(folder):
            found.append(folder.name)
    return found[:CATCH_UP]


def git_tags() -> dict[str, str]:
    """``cookhouse.git_sha`` and ``cookhouse.git_dirty`` of the working copy this code lies in; empty outside git."""
    if not (INSTALLED / ".git").exists():
        return {}
    try:
        sha = _git("rev-parse", "HEAD")
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"cookhouse.git_sha": sha, "cookhouse.git_dirty": str(dirty).lower(), "mlflow.source.git.commit": sha}


def main(arguments: list[str]) -> int:
    root, run_ids, uri = Path(arguments[0]), arguments[1:], os.environ[URI]
    os.nice(5)
    closing = threading.Event()
    threading.Thread(target=_wait_for_driver, args=(closing,), daemon=True).start()

    def warn(text: str) -> None:
        sys.stdout.write(f"tracking: {redact(text)}\n")  # mirror.log
        sys.stdout.flush()

    open_sink, git = functools.cache(Sink), git_tags()
    with contextlib.ExitStack() as locks:
        mine = [name for name in run_ids if locks.enter_context(state.only_mirror(root / "runs" / name))]
        if not mine:
            return 0
        followers = [Follower(root, name, uri, open_sink=open_sink, git=git, warn=warn) for name in mine]
        delivered = follow_run(Together(followers), closing)
    if delivered:
        for other in unfinished(root, uri, besides=run_ids):
            try:
                sync(root, other, uri, warn)
            except Exception as error:  # whatever the store raises, the run must not feel it
                warn(f"run {other} could not be caught up: {type(error).__name__}: {first_line(error)}")
    return 0 if delivered else 1


class Together:
    """The runs of one sweep, followed one after the other by one process."""

    def __init__(self, followers: Sequence[Follower]) -> None:
        self.followers = followers
        self.warn = followers[0].warn

    @property
    def _open(self) -> list[Follower]:
        return [follower for follower in self.followers if not follower.done]

    @property
    def done(self) -> bool:
        return not self._open

    def pump(self) -> int:
        return sum(follower.pump() for follower in self._open)

    def settle(self) -> bool:
        settled = [follower.settle() for follower in self._open]  # every one of them, also after a False
        return all(settled)

    def end(self, status: str) -> None:
        for follower in self._open:
            follower.end(status)


def _wait_for_driver(closing: threading.Event) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    closing.set()


def _running(folder: Path) -> bool:
    try:
        os.kill(int((folder / "driver.pid").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(INSTALLED), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
