"""Shards that lie in an object store: read by range, kept in a bounded folder of this machine.

A file is cut into blocks of ``BLOCK`` bytes; a read fetches the blocks it lacks in one request and keeps each as a file of
its own, moved into place whole, so that threads and processes share one folder without a lock and a killed reader
leaves nothing half. The name of a block holds the URL and the object's size and ETag: an object that was replaced is
never mixed with its old blocks. When the folder grows over its limit the blocks unused for longest go; a reader that
loses one under its hands fetches it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from functools import lru_cache
from pathlib import Path

from pipelines.core import storage
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.storage import About

BLOCK = 1 << 20
"""Bytes: a page sample touches one or two blocks, a text sample shares one with hundreds."""
LIMIT = "COOKHOUSE_SHARD_CACHE_GB"
"""Environment variable: how much is kept under ``COOKHOUSE_HOME/shards`` (default 20 GB)."""
_SLACK = 0.1
"""Part of the limit that is freed at once, so that not every fetch has to look."""


class ShardCache:
    """Blocks of remote files in ``folder``, at most about ``limit`` bytes.

    ``fetched`` and ``hits`` count bytes asked of the store and blocks found here (this process)."""

    def __init__(self, folder: str | os.PathLike[str], limit: int, block: int = BLOCK) -> None:
        if limit < 2 * block:
            raise ConfigError(f"a shard cache of {limit} bytes holds no two blocks of {block}", do=f"raise {LIMIT}")
        self.folder, self.limit, self.block = Path(folder), limit, block
        self.fetched = self.hits = 0
        self._known: dict[str, About] = {}
        self._since_sweep, self._lock = limit, threading.Lock()  # the first fetch looks what earlier processes left

    def describe(self, url: str) -> About:
        """Size and stamp, asked once a process. Raises DataError for an object that is not there."""
        if url not in self._known:
            try:
                self._known[url] = storage.about(storage.place(url))
            except FileNotFoundError as error:
                raise nothing_at(url) from error
        return self._known[url]

    def read(self, url: str, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``, fewer at the end of the object."""
        end = min(offset + length, self.describe(url).size)
        if offset >= end:
            return b""
        numbers = range(offset // self.block, (end - 1) // self.block + 1)

        def span(number: int) -> tuple[int, int]:
            start = number * self.block
            return max(offset - start, 0), min(end - start, self.block)

        pieces = {number: self._held(url, number, *span(number)) for number in numbers}
        missing = [number for number, data in pieces.items() if data is None]
        if missing:
            for number, data in self._fetch(url, missing[0], missing[-1]).items():
                pieces[number] = data[slice(*span(number))]
        return b"".join(pieces[number] or b"" for number in numbers)

    def _place(self, url: str, number: int) -> Path:
        about = self.describe(url)
        name = hashlib.sha256(f"{url}\n{about.size}\n{about.stamp}\n{self.block}".encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}-{number}"

    def _held(self, url: str, number: int, start: int, stop: int) -> bytes | None:
        """Bytes ``start`` to ``stop`` of a block that is here, else None."""
        path = self._place(url, number)
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != min(self.block, self.describe(url).size - number * self.block):
                    return None
                data = os.pread(file.fileno(), stop - start, start)
                os.utime(file.fileno())  # the time of use decides who goes first
        except FileNotFoundError:
            return None
        self.hits += 1
        return data

    def _fetch(self, url: str, first: int, last: int) -> dict[int, bytes]:
        start, end = first * self.block, min((last + 1) * self.block, self.describe(url).size)
        data = storage.get(storage.place(url), start, end)
        if data is None:
            raise nothing_at(url)
        if len(data) != end - start:
            raise DataError(
                f"asked for {end - start} bytes at {start}, the store gave {len(data)}",
                where=url,
                why="the object was cut or replaced while it was read",
                do="run `cookhouse shards verify`",
            )
        self.fetched += len(data)
        found = {}
        for number in range(first, last + 1):
            found[number] = data[(number - first) * self.block : (number - first + 1) * self.block]
            with contextlib.suppress(OSError):  # a full disk costs the cache, not the read
                storage.put(self._place(url, number), found[number])
        self._sweep(len(data))
        return found

    def _sweep(self, grown: int) -> None:
        with self._lock:
            self._since_sweep += grown
            if self._since_sweep < max(self.block, int(self.limit * _SLACK)):
                return
            self._since_sweep = 0
        found = sorted((file.written, file.size, name) for name, file in storage.files(self.folder).items())
        total = sum(size for _, size, _ in found)
        if total <= self.limit * (1 - _SLACK):
            return
        for used, size, name in found:
            if total <= self.limit * (1 - 2 * _SLACK):
                return
            if "/." in name and time.time() - used < 3600:
                continue  # another reader is writing it
            with contextlib.suppress(OSError):
                (self.folder / name).unlink()
            total -= size


@lru_cache(maxsize=1)
def default_cache() -> ShardCache:
    """The cache of this process, from the environment."""
    text = os.environ.get(LIMIT) or "20"
    try:
        limit = int(float(text) * 1e9)
    except ValueError as error:
        raise ConfigError(f"{LIMIT} is {text!r}, not a number of gigabytes") from error
    return ShardCache(storage.home() / "shards", limit)


def nothing_at(url: str) -> DataError:
    """The error for an object that should be there."""
    return DataError("there is nothing at this address", where=url, do="run `cookhouse shards verify`")
