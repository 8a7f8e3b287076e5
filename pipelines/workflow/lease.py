"""Who works on a key: one small file with a heartbeat, so that two runs do not do the same work twice.

A lease only saves work. What keeps results right is the exclusive create of the commit: even two holders cannot publish
two results of one generation.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core.errors import LockError
from pipelines.workflow import process
from pipelines.workflow.files import create_json, read_json, write_json

HEARTBEAT_S = 5.0
EXPIRY_S = 60.0
"""A lease whose heartbeat is older than this belongs to nobody (its process cannot be asked: another host)."""


class Lease:
    """Held from :meth:`acquire` to :meth:`release`; a thread touches the file every ``HEARTBEAT_S`` seconds.

    ``lost`` is set when another process took the lease over; the holder should stop then.
    """

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token = path, token
        self.lost = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {path.parent.name}", daemon=True)

    @classmethod
    def acquire(cls, folder: Path, *, run_id: str, step: str) -> Lease:
        """Take the lease of an artifact's folder. A lease left by a dead process is taken over at once, one from
        another host after ``EXPIRY_S`` without heartbeat. Raises LockError while a live holder has it."""
        path = folder / "lease.json"
        token = secrets.token_hex(8)
        value = {"token": token, "run_id": run_id, "step": step, "since": round(time.time(), 3), **process.identity()}
        if not create_json(path, value):
            with _guard(folder):
                held = holder(folder)
                if held is not None:
                    raise LockError(
                        f"step '{step}' is being made by another run",
                        where=str(path),
                        why=f"run {held['run_id']}, process {held['pid']} on {held['host']}, "
                        f"for {time.time() - held['since']:.0f} s",
                        do="wait for it (cookhouse status), or stop that process",
                    )
                write_json(path, value)
        lease = cls(path, token)
        lease._thread.start()
        return lease

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            value = read_json(self.path)
            if value is None or value["token"] != self.token:
                self.lost.set()
                return
            os.utime(self.path)

    def release(self) -> None:
        """Stop the heartbeat and remove the file if it is still ours."""
        self._stop.set()
        self._thread.join()
        with _guard(self.path.parent):
            value = read_json(self.path)
            if value is not None and value["token"] == self.token:
                self.path.unlink(missing_ok=True)


def holder(folder: Path) -> dict[str, Any] | None:
    """The lease of a folder if somebody alive holds it, else None."""
    path = folder / "lease.json"
    value = read_json(path)
    if value is None:
        return None
    alive = process.is_alive(value)
    if alive is None:
        try:
            alive = time.time() - path.stat().st_mtime < EXPIRY_S
        except FileNotFoundError:
            alive = False
    return dict(value) if alive else None


@contextmanager
def _guard(folder: Path) -> Iterator[None]:
    """Judging a lease and replacing it must not interleave with another process doing the same; the kernel drops this
    lock with its process."""
    handle = os.open(folder / ".lease.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
