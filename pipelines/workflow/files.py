"""The few ways the workflow writes files, local or in a remote store: whole or not at all, and once or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.errors import ConfigError, DataError


def sync_folder(folder: Path) -> None:
    """fsync of a directory, so that a new name in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encode(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n").encode()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate_disk(error, folder) from error


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file in one move: temporary name, fsync, ``os.replace``; one put in a remote store."""
    if storage.is_remote(path):
        storage.write_bytes(path, _encode(value))
        return
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("wb") as file:
            file.write(_encode(value))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise translate_disk(error, path) from error
    sync_folder(path.parent)


def create_json(path: Path, value: Any) -> bool:
    """Create a JSON file that must not exist; False when another process was first. Readers never see half a file:
    it is written under a temporary name and *linked* to its own, which fails if the name is taken; a remote store is
    asked for a conditional write, so ``value`` must hold something only this caller writes."""
    if storage.is_remote(path):
        return storage.create_bytes(path, _encode(value))
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(_encode(value))
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise translate_disk(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def read_json(path: Path) -> Any | None:
    """The value, or None when the file is missing or torn."""
    data = storage.read_bytes(path)
    try:
        return None if data is None else json.loads(data)
    except ValueError:
        return None


def translate_disk(error: OSError, path: Path | str) -> Exception:
    """:func:`translate_full_disk`, and a ConfigError for a store that is read-only or closed to this user."""
    if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
        return translate_full_disk(error, path)
    return ConfigError(
        "the store cannot be written",
        where=str(path),
        why=os.strerror(error.errno),
        do="make it writable, or choose another place with storage.root=/big/disk; nothing is half-committed",
    )


def translate_full_disk(error: OSError, path: Path | str) -> Exception:
    """A DataError that says how much is left, for 'no space' and 'quota'; any other OSError comes back as it is. It
    is not an InfraError because trying again at once fills the disk again."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    folder = Path(path)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**20
    return DataError(
        "the disk is full",
        where=str(path),
        why=f"{os.strerror(error.errno)}; {free:.0f} MiB are free there",
        do="free some space or choose another place with storage.root=/big/disk, then run the same command again: "
        "finished units are kept",
    )
