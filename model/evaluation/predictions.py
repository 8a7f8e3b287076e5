"""Prediction rows: what a model said about each region and each question, kept so that figures can be made again.

JSONL while they are made (one closed file a chunk), one Parquet table a task at the end.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar


@dataclass(frozen=True)
class RegionRow:
    """One region read from one picture. ``picture`` is ``right`` or ``wrong`` (``picture_key`` says whose); ``edits``
    and ``length`` are code points (``metrics.compare_text``); ``prediction`` is None when no line carried the number.
    The teacher-forced columns are set for right pictures only: nats and correct characters over ``forced_chars``."""

    model: str
    picture: Literal["right", "wrong"]
    key: str
    picture_key: str
    region: int
    level: str
    truth: str
    prediction: str | None
    edits: int
    length: int
    completion_tokens: int
    finished: bool
    forced_nll: float | None = None
    forced_correct: int | None = None
    forced_chars: int | None = None


@dataclass(frozen=True)
class AnswerRow:
    """One question answered in one mode. ``item`` names the question in both modes; ``answer`` is None when the
    completion has no answer part."""

    model: str
    mode: str
    key: str
    item: str
    question_kind: str
    verifier: str
    question: str
    truth: str
    answer: str | None
    thought: str
    verdict: str
    completion_tokens: int
    finished: bool


Row = TypeVar("Row", RegionRow, AnswerRow)


def write_rows(path: str | os.PathLike[str], rows: Iterable[RegionRow] | Iterable[AnswerRow]) -> int:
    """JSONL under a temporary name, then moved into place; returns the number of rows."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    count = 0
    with draft.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, target)
    return count


def read_rows(kind: type[Row], paths: Sequence[str | os.PathLike[str]]) -> list[Row]:
    """The rows of JSONL files, in the order of the files."""
    rows: list[Row] = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            rows.extend(kind(**json.loads(line)) for line in file)
    return rows


def write_table(path: str | os.PathLike[str], kind: type[Row], rows: Sequence[Row]) -> None:
    """Parquet with one column a field, typed by the dataclass so that an empty table keeps its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow: dict[str, Any] = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    names = [field.name for field in dataclasses.fields(kind)]
    types = [arrow.get(str(field.type).split(" ")[0], pa.string()) for field in dataclasses.fields(kind)]
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    schema = pa.schema(list(zip(names, types, strict=True)))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), path)
