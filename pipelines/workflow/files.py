"""The few ways the workflow writes files, local or in a remote store: whole or not at all, and once or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.storage import Place


def _encode(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n").encode()


def write_json(path: Place, value: Any) -> None:
    """Replace a JSON file in one move; a local one survives a power cut."""
    try:
        storage.put(path, _encode(value), durable=True)
    except OSError as error:
        raise translate_disk(error, path) from error


def create_json(path: Place, value: Any) -> bool:
    """Create a JSON file that must not exist; False when another process was first. ``value`` must hold something only
    this caller writes (:func:`storage.create`)."""
    try:
        return storage.create(path, _encode(value))
    except OSError as error:
        raise translate_disk(error, path) from error


def read_json(path: Place) -> Any | None:
    """The value, or None when the file is missing or torn."""
    data = storage.get(path)
    try:
        return None if data is None else json.loads(data)
    except ValueError:
        return None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file of this machine; the kernel drops the lock with its process."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def translate_disk(error: OSError, path: Place | str) -> Exception:
    """:func:`translate_full_disk`, and a ConfigError for a store that is read-only or closed to this user."""
    if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
        return translate_full_disk(error, path)
    do = "make it writable, or choose another place with storage.root=/big/disk; nothing is half-committed"
    return ConfigError("the store cannot be written", where=str(path), why=os.strerror(error.errno), do=do)


def free_bytes(path: Path) -> int:
    path = path.absolute()
    return shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.exists())).free


def translate_full_disk(error: OSError, path: Place | str) -> Exception:
    """A DataError that says how much is left, for 'no space' and 'quota'; any other OSError comes back as it is. It
    is not an InfraError because trying again at once fills the disk again."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    why = f"{os.strerror(error.errno)}; {free_bytes(Path(str(path))) / 2**20:.0f} MiB are free there"
    do = "free some space or choose another place with storage.root=/big/disk, then run the same command again: "
    return DataError("the disk is full", where=str(path), why=why, do=f"{do}finished units are kept")
