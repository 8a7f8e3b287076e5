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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.storage import home, is_remote, place, reaching, write_bytes

BLOCK = 1 << 20
"""Bytes: a page sample touches one or two blocks, a text sample shares one with hundreds."""
LIMIT = "COOKHOUSE_SHARD_CACHE_GB"
"""Environment variable: how much is kept under ``COOKHOUSE_HOME/shards`` (default 20 GB)."""
_AT_ONCE = 16
_SLACK = 0.1
"""Part of the limit that is freed at once, so that not every fetch has to look."""


def is_url(address: str) -> bool:
    """True for ``s3://bucket/key`` and its kind, False for a path."""
    return "://" in address


@dataclass(frozen=True)
class Remote:
    """One object as its store describes it. ``stamp``: what changes with its bytes."""

    url: str
    size: int
    stamp: str


class ShardCache:
    """Blocks of remote files in ``folder``, at most about ``limit`` bytes.

    ``fetched`` and ``hits`` count bytes asked of the store and blocks found here (this process)."""

    def __init__(self, folder: str | os.PathLike[str], limit: int, block: int = BLOCK) -> None:
        if limit < 2 * block:
            raise ConfigError(f"a shard cache of {limit} bytes holds no two blocks of {block}", do=f"raise {LIMIT}")
        self.folder, self.limit, self.block = Path(folder), limit, block
        self.fetched = self.hits = 0
        self._remotes: dict[str, Remote] = {}
        self._since_sweep, self._lock = limit, threading.Lock()  # the first fetch looks what earlier processes left

    def describe(self, url: str) -> Remote:
        """Size and stamp, asked once a process. Raises DataError for an object that is not there."""
        if url not in self._remotes:
            info = _ask(url, lambda fs, path: fs.info(path))
            marks = [info.get(name) for name in ("ETag", "etag", "LastModified", "mtime", "created")]
            self._remotes[url] = Remote(url, int(info.get("size") or 0), str(next((m for m in marks if m), "")))
        return self._remotes[url]

    def read(self, url: str, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``, fewer at the end of the object."""
        remote = self.describe(url)
        end = min(offset + length, remote.size)
        if offset >= end:
            return b""
        numbers = range(offset // self.block, (end - 1) // self.block + 1)

        def span(number: int) -> tuple[int, int]:
            start = number * self.block
            return max(offset - start, 0), min(end - start, self.block)

        pieces = {number: self._held(remote, number, *span(number)) for number in numbers}
        missing = [number for number, data in pieces.items() if data is None]
        if missing:
            for number, data in self._fetch(remote, missing[0], missing[-1]).items():
                pieces[number] = data[slice(*span(number))]
        return b"".join(pieces[number] or b"" for number in numbers)

    def local(self, url: str) -> Path:
        """A whole copy of a small file (a manifest), outside the limit."""
        remote = self.describe(url)
        name = hashlib.sha256(f"{url}\n{remote.size}\n{remote.stamp}".encode()).hexdigest()[:32]
        path = self.folder / "whole" / name / url.rpartition("/")[2]
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, _ask(url, lambda fs, place: fs.cat_file(place)))
        return path

    def _place(self, remote: Remote, number: int) -> Path:
        name = hashlib.sha256(f"{remote.url}\n{remote.size}\n{remote.stamp}\n{self.block}".encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}-{number}"

    def _held(self, remote: Remote, number: int, start: int, stop: int) -> bytes | None:
        """Bytes ``start`` to ``stop`` of a block that is here, else None."""
        path = self._place(remote, number)
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != min(self.block, remote.size - number * self.block):
                    return None
                data = os.pread(file.fileno(), stop - start, start)
                os.utime(file.fileno())  # the time of use decides who goes first
        except FileNotFoundError:
            return None
        self.hits += 1
        return data

    def _fetch(self, remote: Remote, first: int, last: int) -> dict[int, bytes]:
        start, end = first * self.block, min((last + 1) * self.block, remote.size)
        data = _ask(remote.url, lambda fs, path: fs.cat_file(path, start=start, end=end))
        if len(data) != end - start:
            raise DataError(
                f"asked for {end - start} bytes at {start}, the store gave {len(data)}",
                where=remote.url,
                why="the object was cut or replaced while it was read",
                do="run `cookhouse shards verify`",
            )
        self.fetched += len(data)
        found = {}
        for number in range(first, last + 1):
            found[number] = data[(number - first) * self.block : (number - first + 1) * self.block]
            with contextlib.suppress(OSError):  # a full disk costs the cache, not the read
                path = self._place(remote, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, found[number])
        self._sweep(len(data))
        return found

    def _sweep(self, grown: int) -> None:
        with self._lock:
            self._since_sweep += grown
            if self._since_sweep < max(self.block, int(self.limit * _SLACK)):
                return
            self._since_sweep = 0
        found: list[tuple[float, int, str]] = []
        for folder in self.folder.glob("??"):
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        about = entry.stat()
                        found.append((about.st_mtime, about.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        if total <= self.limit * (1 - _SLACK):
            return
        now = time.time()
        for used, size, path in sorted(found):
            if total <= self.limit * (1 - 2 * _SLACK):
                return
            if os.path.basename(path).startswith(".") and now - used < 3600:
                continue  # another reader is writing it
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size


@dataclass(frozen=True)
class RemoteFolder:
    """A folder of ``shards/`` and ``manifest/`` by URL, read like a local one: shards by range, manifests whole."""

    url: str
    step: str = "folder"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """``shards/...`` and ``manifest/...``, sorted; listed once."""
        folders = ("manifest", "shards")
        return tuple(sorted(f"{folder}/{name}" for folder in folders for name in list_files(self.address(folder))))

    def address(self, rel: str) -> str:
        return f"{self.url.rstrip('/')}/{rel}"

    def path(self, rel: str) -> Path:
        return default_cache().local(self.address(rel))

    def glob(self, pattern: str) -> list[Path]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # a thousand manifests one after the other would be a minute
            return list(pool.map(self.path, (name for name in self.names if fnmatchcase(name, pattern))))


@lru_cache(maxsize=1)
def default_cache() -> ShardCache:
    """The cache of this process, from the environment."""
    text = os.environ.get(LIMIT) or "20"
    try:
        limit = int(float(text) * 1e9)
    except ValueError as error:
        raise ConfigError(f"{LIMIT} is {text!r}, not a number of gigabytes") from error
    return ShardCache(home() / "shards", limit)


def list_files(url: str) -> dict[str, int]:
    """Name -> size in bytes of the files right under a remote folder; empty when there is none."""
    try:
        found = _ask(url, lambda fs, path: fs.ls(path, detail=True))
    except DataError:
        return {}
    return {str(item["name"]).rpartition("/")[2]: int(item["size"] or 0) for item in found if item["type"] == "file"}


def _ask(url: str, question: Callable[[Any, str], Any]) -> Any:
    """``question(file system, path)`` of a URL. Raises DataError for what is missing, ConfigError for an unknown scheme,
    InfraError for a store that does not answer."""
    from fsspec import filesystem  # 40 ms that readers of local shards do without

    where = place(url)
    fs = where.fs if is_remote(where) else filesystem("file")  # type: ignore[attr-defined]
    try:
        with reaching(where):
            return question(fs, getattr(where, "path", str(where)))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError("there is nothing at this address", where=url, do="run `cookhouse shards verify`") from error
