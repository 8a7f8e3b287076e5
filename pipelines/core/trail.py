"""Append-only files (events, logs) where a store cannot append: written locally, carried up as closed, numbered parts.

    logs/events.jsonl             on the machine that does the work
    logs/events.jsonl.000001      in a remote store: the first bytes, then 000002 ...

A ``Trail`` reads either, from where it stopped before; a ``Shipper`` is the other end.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.core import storage
from pipelines.core.errors import InfraError
from pipelines.core.storage import Place

EVERY_S = 5.0
"""Seconds between two looks of the shipper; what a killed machine loses of its logs."""


class Trail:
    """Reads an append-only file from where it stopped: ``new`` gives the bytes that came since; ``more`` says that there are
    others already."""

    def __init__(self, path: Place) -> None:
        self._torn = b""
        self.path = path
        self._offset = 0
        self._parts: set[str] = set()
        self.more = False

    def new(self, most: int | None = None) -> bytes:
        """Bytes written since the last call, at most ``most`` of a local file and 16 parts of a remote one when it is given;
        empty when there are none, or no file yet."""
        path = self.path
        if isinstance(path, Path):
            found = storage.get(path, self._offset, None if most is None else self._offset + most) or b""
            self._offset += len(found)
            return found
        prefix = f"{path.name}."
        fresh = [name for name in storage.names(path.parent) if name.startswith(prefix) and name not in self._parts]
        self.more = most is not None and len(fresh) > 16
        fresh = fresh[:16] if self.more else fresh
        with ThreadPoolExecutor(16) as pool:
            found = b"".join(pool.map(lambda name: storage.get(path.parent / name) or b"", fresh))
        self._parts.update(fresh)
        return found

    def lines(self) -> list[str]:
        """Whole new lines; the rest of a torn one comes with the next call."""
        whole, end, self._torn = (self._torn + self.new()).rpartition(b"\n")
        return (whole + end).decode(errors="replace").splitlines()


class Shipper:
    """Carries local append-only files up while they grow; a thread, ended by ``close``, which ships the rest.

    A store that does not answer costs nothing but delay: the bytes stay local and go up with the next look.
    """

    def __init__(self, local: Path, remote: Place, names: Sequence[str]) -> None:
        self._files = {name: (Trail(local / name), remote / name) for name in names}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"shipper {local.name}", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        parts, waiting = dict.fromkeys(self._files, 1), dict.fromkeys(self._files, b"")
        last = False
        while not last:
            last = self._stop.wait(EVERY_S)
            for name, (trail, target) in self._files.items():
                with contextlib.suppress(OSError, InfraError):
                    waiting[name] += trail.new()
                    if waiting[name]:
                        storage.put(target.parent / f"{target.name}.{parts[name]:06d}", waiting[name])
                        parts[name], waiting[name] = parts[name] + 1, b""

    def close(self) -> None:
        """Ship what is left and end."""
        self._stop.set()
        self._thread.join()
