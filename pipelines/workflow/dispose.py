"""The edge of ``collect``: look at every folder of a store, and delete what was found to be waste.

Deleting holds the key's lease and looks again first, so a run that began meanwhile keeps what it uses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from pipelines.core import storage
from pipelines.core.errors import LockError
from pipelines.core.storage import Place
from pipelines.workflow import lease
from pipelines.workflow.collect import Holding, Kind, Made, Tried, Waste
from pipelines.workflow.files import read_json
from pipelines.workflow.lease import Lease
from pipelines.workflow.store import COMMIT, Record, Store, commit_name


def holdings(store: Store) -> list[Holding]:
    """Every key's folder of a store, committed or not."""
    found = []
    for stage in store.stages():
        folders = (folder for known in store.listing(stage).values() for folder in known)
        found += [holding for folder in folders if (holding := look(store, folder)) is not None]
    return found


def look(store: Store, folder: Place) -> Holding | None:
    """One key's folder, None when nobody ever began anything there."""
    records = list(_records(folder))
    attempts = store.attempts(folder)
    if not records and not attempts:
        return None
    return Holding(
        folder,
        key=records[0].key if records else folder.name.rpartition("-")[2],
        made=tuple(_made(record) for record in records),
        tried=tuple(_tried(path) for _, path in attempts),
        live=lease.holder(folder) is not None,
        adopted=any(record.data["provenance"].get("adopted") for record in records),
    )


def dispose(store: Store, waste: Waste) -> bool:
    """Delete one thing; False when somebody began to work there since it was found."""
    folder = waste.holding.folder
    try:
        held = Lease.acquire(folder, run_id="gc", step=folder.name)
    except LockError:
        return False
    try:
        now = look(store, folder)
        if now is None or not {made.number for made in now.made} <= {made.number for made in waste.holding.made}:
            return False
        generations = [made.number for made in now.made] if waste.kind is Kind.KEY else [waste.generation]
        for number in sorted(generations):  # the one readers see goes last
            if number:
                storage.delete(folder / commit_name(number))
        for name in waste.attempts:
            storage.delete(folder / "attempts" / name)
    finally:
        held.release()
    if waste.kind is Kind.KEY or not (storage.names(folder / "attempts") or any(_records(folder))):
        storage.delete(folder)
    return True


def _records(folder: Place) -> Iterator[Record]:
    for name in storage.names(folder):
        if match := COMMIT.fullmatch(name):
            data = read_json(folder / name)
            if data is not None:
                yield Record(folder, int(match[1] or 1), data)


def _made(record: Record) -> Made:
    manifest = read_json(record.folder / str(record.data["manifest"])) or {"attendant": {"places": {}}}
    paths = [str(record.data["manifest"]), *manifest["attendant"]["places"].values()]
    return Made(
        record.generation,
        record.content_digest,
        frozenset({str(record.data["attempt"])} | {path.split("/")[1] for path in paths}),
        frozenset(
            (row["key"], row["content_digest"]) for rows in record.data["inputs"].values() for row in rows if row["key"]
        ),
    )


def _tried(path: Place) -> Tried:
    about = read_json(path / "attempt.json") or {}
    times = [float(about.get("created", 0.0))]
    times += [
        float((read_json(path / "units" / name) or {}).get("time", 0.0)) for name in storage.names(path / "units")
    ]
    ports = (read_json(path / "spec.json") or {}).get("inputs", {})
    return Tried(
        path.name,
        int(about.get("generation", 1)),
        max(0.0, time.time() - max(times)),
        sum(file.size for file in storage.files(path).values()),
        frozenset(row["key"] for rows in ports.values() for row in rows if row["key"]),
    )
