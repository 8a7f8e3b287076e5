"""What the mirror remembers, beside the data: ids of MLflow runs, how far files were read, final metrics.

``{artifact}/tracking.json`` and ``runs/{run}/tracking.json`` hold one record for each store (by a digest of its URI,
which may carry a password), so the same results can be shown in two servers. Losing a file costs a search by tag.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.storage import Place
from pipelines.workflow.files import read_json

FILE = "tracking.json"


def store_id(uri: str) -> str:
    """16 hex digits that stand for a tracking URI."""
    return hashlib.sha256(uri.encode()).hexdigest()[:16]


def load(folder: Place, uri: str, name: str = "run") -> dict[str, Any]:
    """The record of ``name`` for this store, empty when there is none or the file is torn."""
    return dict((read_json(folder / FILE) or {}).get(store_id(uri), {}).get(name, {}))


def save(folder: Place, uri: str, record: Mapping[str, Any], name: str = "run") -> None:
    """Replace the record of ``name`` for this store; other stores and names stay."""
    whole = read_json(folder / FILE) or {}
    whole.setdefault(store_id(uri), {})[name] = dict(record)
    storage.put(folder / FILE, json.dumps(whole, indent=1, sort_keys=True).encode())


@contextmanager
def only_mirror(folder: Path, warn: Callable[[str], None] = print) -> Iterator[bool]:
    """True while this process alone mirrors the run of a folder; False when another one does. The lock goes with the
    process, so a killed mirror blocks nobody. A file system without locks is said and does not matter much: what two mirrors
    say is the same."""
    descriptor = os.open(folder / ".mirror.lock", os.O_CREAT | os.O_RDWR, 0o644)
    mine = True
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            mine = False
        except OSError as error:
            warn(f"the file system of {folder} has no locks ({error.strerror}); a second mirror would not be noticed")
        yield mine
    finally:
        os.close(descriptor)
