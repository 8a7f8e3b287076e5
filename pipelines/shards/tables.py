"""Rows of tables people bring: JSON lines, one JSON list, or Parquet. A broken row is reported in its place, never lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
Found = tuple[int, Mapping[str, Any] | ValueError]


def count_rows(path: Path) -> int:
    """Rows of a table, broken ones included, blank lines of JSON lines left out. Raises DataError for a file that is
    no table as a whole."""
    if path.suffix == ".parquet":
        return int(_parquet(path).metadata.num_rows)
    return sum(1 for _ in read_rows(path))


def read_rows(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Found]:
    """(number from 0, row) from ``start`` to before ``stop``; in place of a row that is no object stands a ValueError.

    Raises DataError for a file that is no table as a whole (not Parquet, not a JSON list)."""
    if path.suffix == ".parquet":
        rows: Iterator[Found] = _parquet_rows(path, start)
    elif path.suffix == ".json":
        rows = _listed_rows(path)
    else:
        rows = _line_rows(path, start)
    for number, row in rows:
        if stop is not None and number >= stop:
            return
        if number >= start:
            yield number, row


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"not a readable Parquet table: {error}", where=str(path)) from error


def _parquet_rows(path: Path, start: int) -> Iterator[Found]:
    """Row groups before ``start`` are skipped without being read."""
    file = _parquet(path)
    first = number = 0
    groups: list[int] = []
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if first + size > start:
            groups.append(group)
        else:
            number = first + size
        first += size
    for batch in file.iter_batches(batch_size=256, row_groups=groups):
        for row in batch.to_pylist():
            yield number, row
            number += 1


def _listed_rows(path: Path) -> Iterator[Found]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"not a readable JSON file: {error}", where=str(path)) from error
    if not isinstance(rows, list):
        raise DataError("a .json table is one list of objects", where=str(path), why=f"it is a {type(rows).__name__}")
    for number, row in enumerate(rows):
        yield number, row if isinstance(row, dict) else ValueError(f"the row is a {type(row).__name__}, not an object")


def _line_rows(path: Path, start: int) -> Iterator[Found]:
    """Lines before ``start`` are counted, not parsed."""
    number = 0
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            if number >= start:
                yield number, _parse(line)
            number += 1


def _parse(line: bytes) -> Mapping[str, Any] | ValueError:
    try:
        row = json.loads(line)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        return ValueError(f"not JSON: {error}")
    return row if isinstance(row, dict) else ValueError(f"the row is a {type(row).__name__}, not an object")
