"""Text-only samples: one a line of ``{"text": ...}``, or a row of a Parquet table with a ``text`` column. The user turn is
a fixed instruction, the text is the target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError
from pipelines.core.seeds import split_of
from pipelines.shards.manifest import Row
from pipelines.shards.plan import SourceItem, Unit
from pipelines.shards.sample import sample_json, text_content, text_size, turn
from pipelines.shards.tables import read_rows
from pipelines.shards.unit import Item, write_unit
from pipelines.text.settings import TextShards

STAGE = "text"
SUFFIXES = (".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class TextJob:
    """A unit and all that decides its bytes. ``declared`` says that the files' own splits hold, else each line has the split
    of its own text."""

    unit: Unit
    settings: TextShards
    declared: bool


def build_text_unit(job: TextJob, folder: Path) -> dict[str, Any]:
    """Write one unit into ``folder``; the receipt of ``write_unit``. A bad line costs itself only."""
    return write_unit(folder, job.unit.name, _items(job))


def _items(job: TextJob) -> Iterator[Item]:
    seen: set[bytes] = set()
    for source in job.unit.items:
        if source.copy_of:
            yield _row(source, 0).filtered("duplicate", f"same bytes as {source.copy_of}")
            continue
        try:
            if Path(source.path).suffix == ".parquet":
                for number, row in read_rows(Path(source.path)):
                    yield _text(job, source, number, _text_of(row), seen)
                continue
            with Path(source.path).open("rb") as file:
                for number, line in enumerate(file):
                    yield _text(job, source, number, _text_of(line), seen)
        except OSError as error:
            yield _row(source, 0).quarantined("source_unavailable", source.told(str(error)))
        except DataError as error:
            yield _row(source, 0).quarantined("parse", source.told(error.what))


def _text_of(row: bytes | Mapping[str, Any] | ValueError) -> str | Exception:
    """The text of a line or row, "" for a blank line, the error that stands in its place."""
    try:
        if isinstance(row, ValueError):
            return row
        if isinstance(row, bytes):
            row = json.loads(row) if row.strip() else {"text": ""}
        text = row["text"]  # type: ignore[call-overload, index]
        return text if isinstance(text, str) else TypeError("text is not a string")
    except (ValueError, TypeError, KeyError) as error:
        return error


def _text(job: TextJob, source: SourceItem, number: int, text: str | Exception, seen: set[bytes]) -> Item:
    if isinstance(text, Exception):
        return _row(source, number).quarantined("parse", f"{type(text).__name__}: {text}")
    text = text.strip()
    mark = hashlib.sha256(text.encode()).digest()
    row = _row(source, number, source.split if job.declared else split_of(mark.hex(), job.settings.split_seed))
    if not text:
        return row.filtered("empty_text", "the line holds no text")
    if len(text.encode()) > job.settings.max_bytes:
        return row.filtered("policy", f"more than {job.settings.max_bytes} bytes")
    if mark in seen:
        return row.filtered("duplicate", "the same text came before in this unit")
    seen.add(mark)
    messages = turn([text_content(job.settings.prompt)], text)
    meta = {"source": source.name, "source_digest": source.sha256, "line": number}
    parts = {"json": sample_json(row.kind, row.split, "none", messages, meta)}
    return replace(row, text_bytes=text_size(messages), tags=("none",)), parts


def _row(source: SourceItem, number: int, split: str = "") -> Row:
    return source.row(f"{source.key('t')}-l{number:07d}", STAGE, "text", number, split)
