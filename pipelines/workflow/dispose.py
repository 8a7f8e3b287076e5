"""The edge of ``collect``: look at every folder of a store, and delete what was found to be waste.

Deleting holds the key's lease and looks again first, so a run that began meanwhile keeps what it uses.
"""

from __future__ import annotations

import time

from pipelines.core import storage
from pipelines.core.errors import LockError
from pipelines.core.storage import Place
from pipelines.workflow import lease
from pipelines.workflow.collect import Holding, Kind, Made, Tried, Waste
from pipelines.workflow.files import read_json
from pipelines.workflow.lease import Lease
from pipelines.workflow.store import Record, Store, commit_name, generations


def holdings(store: Store) -> list[Holding]:
    folders = [item for stage in store.stages() for known in store.listing(stage).values() for item in known]
    return [holding for folder in folders if (holding := look(store, folder)) is not None]


def look(store: Store, folder: Place) -> Holding | None:
    """One key's folder, None when nobody ever began anything there."""
    read = [(number, read_json(folder / commit_name(number))) for number in generations(folder)]
    records = [Record(folder, number, data) for number, data in read if data is not None]
    attempts = store.attempts(folder)
    if not records and not attempts:
        return None
    return Holding(
        folder,
        records[0].key if records else folder.name.rpartition("-")[2],
        tuple(map(_made, records)),
        tuple(_tried(path) for _, path in attempts),
        live=lease.holder(folder) is not None,
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
        numbers = [made.number for made in now.made]  # the one readers see goes last
        for number in numbers if waste.kind is Kind.KEY else filter(None, [waste.generation]):
            storage.delete(folder / commit_name(number))
        for name in waste.attempts:
            storage.delete(folder / "attempts" / name)
        empty = look(store, folder) is None
    finally:
        held.release()
    if empty:
        storage.delete(folder)
    return True


def _made(record: Record) -> Made:
    manifest = read_json(record.folder / str(record.data["manifest"])) or {"attendant": {"places": {}}}
    paths = [str(record.data["manifest"]), *manifest["attendant"]["places"].values()]
    read = (row for rows in record.data["inputs"].values() for row in rows if row["key"])
    return Made(
        record.generation,
        record.content_digest,
        frozenset({str(record.data["attempt"]), *(path.split("/")[1] for path in paths)}),
        frozenset((row["key"], row["content_digest"]) for row in read),
    )


def _tried(path: Place) -> Tried:
    about = read_json(path / "attempt.json") or {}
    units = [read_json(path / "units" / name) or {} for name in storage.names(path / "units")]
    last = max(float(row.get(name, 0.0)) for row in (about, *units) for name in ("created", "time"))
    ports = (read_json(path / "spec.json") or {}).get("inputs", {})
    return Tried(
        path.name,
        int(about.get("generation", 1)),
        max(0.0, time.time() - last),
        sum(file.size for file in storage.files(path).values()),
        frozenset(row["key"] for rows in ports.values() for row in rows if row["key"]),
    )
