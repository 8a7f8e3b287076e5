"""How every part of the corpus writes: lines of JSON, and a row of ``corpus.jsonl`` for each file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = dict[str, str]


def row(file: str, family: str, split: str) -> Row:
    return {"family": family, "file": file, "split": split}


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """JSON Lines, in the rows' own order of keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
