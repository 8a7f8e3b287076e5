"""Tables of other people: every row comes, broken ones in their place, and any range is the same as in the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.errors import DataError
from pipelines.shards.tables import count_rows, read_rows


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_ranges_are_parts_of_the_whole(tmp_path: Path, suffix: str) -> None:
    path, rows = tmp_path / f"a{suffix}", [{"n": n} for n in range(23)]
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=5)
    elif suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n\n".join(map(json.dumps, rows)))
    assert count_rows(path) == 23
    assert list(read_rows(path)) == list(enumerate(rows))
    for start, stop in ((0, 5), (4, 11), (20, 40), (23, 30)):
        assert list(read_rows(path, start, stop)) == list(enumerate(rows))[start:stop]


def test_broken_rows_stand_in_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\n{\n[1]\n\xff\n{"n": 5}')
    found = dict(read_rows(tmp_path / "a.jsonl"))
    assert [number for number, row in found.items() if isinstance(row, ValueError)] == [1, 2, 3]
    assert count_rows(tmp_path / "a.jsonl") == 5
    (tmp_path / "a.json").write_text('[{"n": 1}, 2]')
    assert isinstance(dict(read_rows(tmp_path / "a.json"))[1], ValueError)


@pytest.mark.parametrize(("name", "text"), [("a.json", "{}"), ("a.json", "["), ("a.parquet", "no")])
def test_files_that_are_no_tables_are_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"table|JSON"):
        list(read_rows(tmp_path / name))
