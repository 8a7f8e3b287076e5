"""Prediction rows: what a model said to each thing it was asked, kept so that figures can be made again.

JSONL while they are made (one closed file a chunk), one Parquet table a task at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pipelines.core.storage import put


@dataclass(frozen=True)
class Row:
    """One thing asked. ``variant`` tells ways of asking apart (a question's mode; the right picture or another's);
    ``dataset`` and ``key`` name the sample, ``shown`` the one whose picture was shown. ``part`` and ``group``: which of
    the sample's things it is and what it is counted with (a region and its level, an item and its kind). ``said`` is None
    where no answer was found; ``scores`` are the numbers figures are made of, ``about`` further words for pages.
    ``tokens`` of the completion, ``finished``: it ended by itself."""

    task: str
    model: str
    variant: str
    dataset: str
    key: str
    shown: str
    part: str
    group: str
    truth: str
    said: str | None
    tokens: int
    finished: bool
    scores: dict[str, float] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    @property
    def sample(self) -> tuple[str, str]:
        """Two datasets may hold the same key."""
        return self.dataset, self.key


def write_rows(path: str | os.PathLike[str], rows: Iterable[Row]) -> int:
    """JSONL, whole or not at all; returns the number of rows."""
    lines = [json.dumps(vars(row), ensure_ascii=False) + "\n" for row in rows]
    put(Path(path), "".join(lines).encode(), durable=True)
    return len(lines)


def read_rows(paths: Sequence[str | os.PathLike[str]]) -> list[Row]:
    """The rows of JSONL files, in the order of the files."""
    return [Row(**json.loads(line)) for path in paths for line in Path(path).read_text(encoding="utf-8").splitlines()]


def write_table(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Parquet with one column a field, ``scores`` and ``about`` as maps; an empty table keeps its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[str, Any] = {
        "tokens": pa.int64(),
        "finished": pa.bool_(),
        "scores": pa.map_(pa.string(), pa.float64()),
        "about": pa.map_(pa.string(), pa.string()),
    }
    schema = pa.schema([(item.name, types.get(item.name, pa.string())) for item in fields(Row)])
    plain = [{**vars(row), "scores": list(row.scores.items()), "about": list(row.about.items())} for row in rows]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(plain, schema=schema), path)


def read_table(path: str | os.PathLike[str]) -> list[Row]:
    """The rows of a Parquet table."""
    import pyarrow.parquet as pq

    plain = pq.read_table(path).to_pylist()
    return [Row(**{**row, "scores": dict(row["scores"]), "about": dict(row["about"])}) for row in plain]
