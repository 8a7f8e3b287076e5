"""The manifest: one Parquet row per *planned* sample, so that nothing a source could have given vanishes.

A row is ``ok`` (it lies in the shard), ``filtered`` (left out by a rule) or ``quarantined`` (it failed, with
category and message). The schema is explicit and versioned; the shard's sha256 and size stand in the file's own
metadata, so a manifest proves its shard without any other file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.core.canonical import digest
from pipelines.core.errors import DataError
from pipelines.core.storage import sync_folder
from pipelines.shards.writer import clear_temporaries, temporary_name

Status = Literal["ok", "filtered", "quarantined"]
STATUSES: tuple[Status, ...] = ("ok", "filtered", "quarantined")
SPLITS = ("train", "val", "test")
CATEGORIES = (
    "source_unavailable",
    "encrypted",
    "parse",
    "render",
    "decode",
    "timeout",
    "crash",
    "oom",
    "ocr",
    "empty_text",
    "empty",
    "policy",
    "duplicate",
    "near_duplicate",
    "language",
    "length",
)
"""Why a row is not ``ok``. ``empty`` means nothing was there (zero frames, zero pages), ``policy`` a rule of the
config."""

SCHEMA_VERSION = 1
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("category", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("shard", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_digest", pa.string(), nullable=False),
        pa.field("item", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("views", pa.int64(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),
        pa.field("width", pa.int64(), nullable=False),
        pa.field("height", pa.int64(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Row:
    """One planned sample.

    ``item`` is the page or clip index in its source; ``views`` counts the pictures the vision tower sees (frames of a
    video included), ``frames`` only video frames; ``width`` and ``height`` are pixels of the (first) picture;
    ``text_bytes`` UTF-8 bytes of all texts; ``detail`` canonical JSON of whatever else helps a person. ``shard``
    (logical path), ``offset``, ``length`` (bytes) and ``sha256`` are filled by ``write_unit``.
    """

    key: str
    status: Status
    stage: str
    source: str
    source_digest: str
    split: str
    kind: str
    item: int = 0
    category: str | None = None
    reason: str | None = None
    shard: str | None = None
    offset: int | None = None
    length: int | None = None
    sha256: str | None = None
    views: int = 0
    frames: int = 0
    width: int = 0
    height: int = 0
    text_bytes: int = 0
    tags: tuple[str, ...] = ()
    detail: str = "{}"

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise DataError(f"row {self.key!r}: status {self.status!r} is none of {', '.join(STATUSES)}")
        if self.split not in SPLITS:
            raise DataError(f"row {self.key!r}: split {self.split!r} is none of {', '.join(SPLITS)}")
        if self.status != "ok" and (self.category not in CATEGORIES or not self.reason):
            raise DataError(
                f"row {self.key!r} is {self.status} without a known category and a reason",
                why=f"category {self.category!r}, reason {self.reason!r}",
                do=f"use one of {', '.join(CATEGORIES)}",
            )

    def filtered(self, category: str, reason: str) -> tuple[Row, None]:
        """The item of a sample that a rule leaves out."""
        return replace(self, status="filtered", category=category, reason=reason), None

    def quarantined(self, category: str, reason: str, otherwise: str = "parse") -> tuple[Row, None]:
        """The item of a sample that failed; a category that manifests do not know becomes ``otherwise``."""
        known = category if category in CATEGORIES else otherwise
        return replace(self, status="quarantined", category=known, reason=reason), None


_NAMES = tuple(field.name for field in fields(Row))


def write_manifest(
    path: str | os.PathLike[str], rows: Iterable[Row], facts: Mapping[str, str | int] | None = None
) -> str:
    """Write rows in order (zstd, explicit schema) under a temporary name, then move it. ``facts`` (the shard's
    ``sha256`` and ``size``) go into the file metadata. Returns a digest of the rows that does not depend on the
    pyarrow version."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = list(rows)
    columns = {name: [getattr(row, name) for row in listed] for name in SCHEMA.names}
    metadata = {
        "cookhouse.schema": str(SCHEMA_VERSION),
        "cookhouse.facts": json.dumps(dict(facts or {}), sort_keys=True),
    }
    table = pa.table(columns, schema=SCHEMA.with_metadata(metadata))
    clear_temporaries(path)
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return rows_digest(listed)


def rows_digest(rows: Sequence[Row]) -> str:
    """sha256 over the canonical JSON of all rows."""
    return digest([[getattr(row, name) for name in _NAMES] for row in rows])


def read_table(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pa.Table:
    """The manifest, or some ``columns`` of it, as a table with its metadata. Raises DataError if it is not a manifest of
    this schema version."""
    try:
        with pq.ParquetFile(pa.BufferReader(Path(path).read_bytes())) as file:
            table = file.read(columns=columns, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"manifest cannot be read: {error}", where=str(path)) from error
    version = (table.schema.metadata or {}).get(b"cookhouse.schema", b"?").decode()
    if version != str(SCHEMA_VERSION):
        raise DataError(
            f"manifest has schema {version}, this code reads {SCHEMA_VERSION}",
            where=str(path),
            do="make the shards again with this version",
        )
    return table


def rows_of(table: pa.Table) -> list[Row]:
    """The rows of a whole manifest in order."""
    return [Row(**{**record, "tags": tuple(record["tags"])}) for record in table.to_pylist()]


def facts_of(table: pa.Table) -> dict[str, str | int]:
    """What the writer noted about the shard: ``sha256``, ``size`` (bytes), ``samples``; empty if no shard was
    written."""
    return json.loads((table.schema.metadata or {}).get(b"cookhouse.facts", b"{}"))


def read_manifest(path: str | os.PathLike[str]) -> list[Row]:
    """All rows in order."""
    return rows_of(read_table(path))


def read_facts(path: str | os.PathLike[str]) -> dict[str, str | int]:
    """``facts_of`` the manifest at ``path``."""
    return facts_of(read_table(path, ("status",)))
