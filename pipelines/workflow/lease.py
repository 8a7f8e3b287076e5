"""Who works on a key: one small file with a heartbeat, so that two runs do not do the same work twice.

A lease only saves work. What keeps results right is the exclusive create of the commit: even two holders cannot publish
two results of one generation.

In a local store the heartbeat is the file's modification time; in a remote one it is a field of the object, put again
at every beat. Taking over a dead holder's lease is guarded by a kernel lock locally; remotely two may try at once, and
the one whose token is read back has it.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.errors import InfraError, LockError
from pipelines.core.storage import Place
from pipelines.workflow import process
from pipelines.workflow.files import create_json, locked, read_json, write_json

HEARTBEAT_S = 5.0
EXPIRY_S = 60.0
"""A lease whose heartbeat is older than this belongs to nobody (its process cannot be asked: another host)."""


class Lease:
    """Held from :meth:`acquire` to :meth:`release`; a thread touches the file every ``HEARTBEAT_S`` seconds.

    ``lost`` is set when another process took the lease over; the holder should stop then.
    """

    def __init__(self, path: Place, token: str) -> None:
        self.path, self.token = path, token
        self.lost = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {path.parent.name}", daemon=True)

    @classmethod
    def acquire(cls, folder: Place, *, run_id: str, step: str) -> Lease:
        """Take the lease of an artifact's folder. A lease left by a dead process is taken over at once, one from
        another host after ``EXPIRY_S`` without heartbeat. Raises LockError while a live holder has it."""
        path = folder / "lease.json"
        token = secrets.token_hex(8)
        now = round(time.time(), 3)
        value = {"token": token, "run_id": run_id, "step": step, "since": now, "beat": now, **process.identity()}
        if not create_json(path, value):
            with _guard(folder):
                held = holder(folder)
                if held is None:
                    write_json(path, value)
                    held = read_json(path)
                if held is None or held["token"] != token:
                    raise _held_by(held or {}, step, path)
        lease = cls(path, token)
        lease._thread.start()
        return lease

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                value = read_json(self.path)
                if value is None or value["token"] != self.token:
                    self.lost.set()
                    return
                if isinstance(self.path, Path):
                    os.utime(self.path)
                else:
                    write_json(self.path, {**value, "beat": round(time.time(), 3)})
            except (InfraError, OSError):
                continue  # the store does not answer now; whoever finds the lease old may take it over

    def release(self) -> None:
        """Stop the heartbeat and remove the file if it is still ours."""
        self._stop.set()
        self._thread.join()
        with suppress(InfraError), _guard(self.path.parent):  # a store that is gone lets the lease expire
            value = read_json(self.path)
            if value is not None and value["token"] == self.token:
                storage.delete(self.path)


def _held_by(holder: Mapping[str, Any], step: str, path: Place) -> LockError:
    who = "another run took it at the same moment"
    if holder:
        since = f"for {time.time() - holder['since']:.0f} s"
        who = f"run {holder['run_id']}, process {holder['pid']} on {holder['host']}, {since}"
    do = "wait for it (run without --no-wait), or stop that process (cookhouse status says more)"
    return LockError(f"step '{step}' is being made by another run", where=str(path), why=who, do=do)


def holder(folder: Place) -> dict[str, Any] | None:
    """The lease of a folder if somebody alive holds it, else None."""
    path = folder / "lease.json"
    value = read_json(path)
    if value is None:
        return None
    alive = process.is_alive(value)
    if alive is None:
        with suppress(FileNotFoundError):
            beat = path.stat().st_mtime if isinstance(path, Path) else value["beat"]
            alive = time.time() - beat < EXPIRY_S
    return dict(value) if alive else None


@contextmanager
def _guard(folder: Place) -> Iterator[None]:
    """Judging a lease and replacing it must not interleave with another process doing the same; the kernel drops the
    lock with its process. A remote store has no such lock; see the module's text."""
    with locked(folder / ".lease.lock") if isinstance(folder, Path) else nullcontext():
        yield
