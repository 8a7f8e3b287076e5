"""What the mirror remembers, beside the data: ids of MLflow runs, how far files were read, final metrics.

``{artifact}/tracking.json`` and ``runs/{run}/tracking.json`` hold one record for each store (by a digest of its URI,
which may carry a password), so the same results can be shown in two servers. Losing a file costs a search by tag.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.errors import InfraError
from pipelines.core.storage import Place

FILE = "tracking.json"


def store_id(uri: str) -> str:
    """16 hex digits that stand for a tracking URI."""
    return hashlib.sha256(uri.encode()).hexdigest()[:16]


def load(folder: Place, uri: str, name: str = "run") -> dict[str, Any]:
    """The record of ``name`` for this store, empty when there is none or the file is torn."""
    record = read_json(folder / FILE).get(store_id(uri), {}).get(name, {})
    return dict(record) if isinstance(record, dict) else {}


def save(folder: Place, uri: str, record: dict[str, Any], name: str = "run") -> None:
    """Replace the record of ``name`` for this store; other stores and names stay."""
    whole = read_json(folder / FILE)
    whole.setdefault(store_id(uri), {})[name] = record
    storage.put(folder / FILE, json.dumps(whole, indent=1, sort_keys=True).encode())


def read_lines(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Whole JSON lines of a local file from byte ``offset`` on, and the offset after them. Torn or foreign lines are passed
    over."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError:
        return [], offset
    end = data.rfind(b"\n") + 1
    found = []
    for line in data[:end].splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found, offset + end


@contextmanager
def only_mirror(folder: Path) -> Iterator[bool]:
    """True while this process alone mirrors the run of a folder; False when another one does. The lock goes with the
    process, so a killed mirror blocks nobody."""
    descriptor = os.open(folder / ".mirror.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def read_json(path: Place) -> dict[str, Any]:
    """The object in a file, empty when it is missing or torn, or its store does not answer."""
    try:
        loaded = json.loads(storage.get(path) or b"{}")
    except (OSError, ValueError, InfraError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
