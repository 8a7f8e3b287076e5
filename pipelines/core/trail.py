"""Append-only files (events, logs) where a store cannot append: written locally, carried up as closed, numbered parts.

    logs/events.jsonl             on the machine that does the work
    logs/events.jsonl.000001      in a remote store: the first bytes, then 000002 ...

A ``Trail`` reads either, from where it stopped before; ``shipped`` is the other end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.core import storage
from pipelines.core.errors import InfraError
from pipelines.core.meanwhile import meanwhile
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


@contextmanager
def shipped(local: Path, remote: Place, names: Sequence[str]) -> Iterator[None]:
    """Carries local append-only files up while they grow, and what is left at the end of the block. A store that does not
    answer costs nothing but delay: the bytes stay local and go up with the next look."""
    trails = {name: Trail(local / name) for name in names}
    waiting, parts = dict.fromkeys(names, b""), dict.fromkeys(names, 1)

    def ship() -> None:
        for name, trail in trails.items():
            with suppress(OSError, InfraError):
                waiting[name] += trail.new()
                if waiting[name]:
                    storage.put(remote / f"{name}.{parts[name]:06d}", waiting[name])
                    parts[name], waiting[name] = parts[name] + 1, b""

    try:
        with meanwhile(ship, EVERY_S):
            yield
    finally:
        ship()
