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
    """Reads an append-only file from where it stopped: ``new`` gives the bytes that came since."""

    def __init__(self, path: Place) -> None:
        self.path = path
        self._offset = 0
        self._parts: set[str] = set()

    def new(self) -> bytes:
        """Bytes written since the last call; empty when there are none, or no file yet."""
        path = self.path
        if isinstance(path, Path):
            found = storage.get(path, self._offset) or b""
            self._offset += len(found)
            return found
        prefix = f"{path.name}."
        fresh = [name for name in storage.names(path.parent) if name.startswith(prefix) and name not in self._parts]
        with ThreadPoolExecutor(16) as pool:
            found = b"".join(pool.map(lambda name: storage.get(path.parent / name) or b"", fresh))
        self._parts.update(fresh)
        return found

    def lines(self) -> list[str]:
        """Whole new lines; the rest of a torn one comes with the next call (local files)."""
        found = self.new()
        whole = found.rfind(b"\n") + 1
        if isinstance(self.path, Path):
            self._offset -= len(found) - whole
            found = found[:whole]
        return found.decode(errors="replace").splitlines()


class Shipper:
    """Carries local append-only files up while they grow; a thread, ended by ``close``, which ships the rest.

    A store that does not answer costs nothing but delay: the bytes stay local and go up with the next look.
    """

    def __init__(self, local: Path, remote: Place, names: Sequence[str]) -> None:
        self._files = {name: [0, 0] for name in names}  # bytes shipped, parts shipped
        self._local, self._remote = local, remote
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=f"shipper {local.name}", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._stop.wait(EVERY_S):
            self._ship(whole_lines=True)

    def _ship(self, *, whole_lines: bool) -> None:
        for name, state in self._files.items():
            with contextlib.suppress(OSError, InfraError):
                data = storage.get(self._local / name, state[0]) or b""
                if whole_lines:
                    data = data[: data.rfind(b"\n") + 1]
                if data:
                    storage.put(self._remote / f"{name}.{state[1] + 1:06d}", data)
                    state[0] += len(data)
                    state[1] += 1

    def close(self) -> None:
        """Ship what is left and end."""
        self._stop.set()
        self._thread.join()
        self._ship(whole_lines=False)
