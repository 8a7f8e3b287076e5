from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.core.errors import DataError
from pipelines.shards.manifest import SCHEMA, Row, read_facts, read_manifest, read_table, rows_digest, write_manifest
from pipelines.shards.unit import Item, check_share, merge_counts, write_unit

Units = dict[str, list[Item]]
MakeItem = Callable[..., Item]


def test_every_planned_sample_has_its_row(tmp_path: Path, units: Units) -> None:
    receipt = write_unit(tmp_path, "u", units["unit-000001"], planned=5)
    assert receipt["counts"] == {"planned": 5, "ok": 4, "filtered": 0, "quarantined": 1}
    assert receipt["files"] == ["shards/u.tar", "manifest/u.parquet"]
    written = hashlib.sha256((tmp_path / "shards" / "u.tar").read_bytes()).hexdigest()
    assert receipt["digests"] == {"shards/u.tar": written} and receipt["sha256"] == written
    rows = read_manifest(tmp_path / "manifest" / "u.parquet")
    assert [row.key for row in rows] == ["b-0", "b-1", "b-2", "b-3", "b-4"]
    assert all((row.shard == "shards/u.tar") == (row.status == "ok") for row in rows)
    assert (rows[-1].category, rows[-1].reason, rows[-1].offset) == ("parse", "it is broken", None)
    assert read_facts(tmp_path / "manifest" / "u.parquet")["sha256"] == receipt["sha256"]
    assert rows_digest(rows) == receipt["rows_sha256"]


def test_two_runs_give_the_same_files(tmp_path: Path, units: Units) -> None:
    first, second = (write_unit(tmp_path / name, "u", units["unit-000000"]) for name in ("x", "y"))
    assert first == second
    for name in first["files"]:
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()


def test_lost_samples_are_an_error(tmp_path: Path, units: Units) -> None:
    with pytest.raises(DataError, match="6 samples planned, 5 accounted for"):
        write_unit(tmp_path, "u", units["unit-000001"], planned=6)
    assert not list(tmp_path.rglob("*.tar"))


def test_parts_must_agree_with_the_status(tmp_path: Path, make_item: MakeItem) -> None:
    row, parts = make_item("a")
    with pytest.raises(DataError, match="lacks parts"):
        write_unit(tmp_path, "u", [(row, None)])
    with pytest.raises(DataError, match="has parts"):
        write_unit(tmp_path, "u", [(replace(row, status="filtered", category="policy", reason="x"), parts)])


def test_a_key_planned_twice_is_an_error(tmp_path: Path, make_item: MakeItem) -> None:
    with pytest.raises(DataError, match="planned 2 times"):
        write_unit(tmp_path, "u", [make_item("a"), make_item("a", status="filtered")])


def test_a_unit_without_samples_writes_no_tar(tmp_path: Path, make_item: MakeItem) -> None:
    receipt = write_unit(tmp_path, "u", [make_item("a", status="quarantined")])
    assert receipt["files"] == ["manifest/u.parquet"] and receipt["digests"] == {}
    assert receipt["sha256"] == ""


def test_the_schema_is_explicit_and_its_version_checked(tmp_path: Path, make_item: MakeItem) -> None:
    write_manifest(tmp_path / "m.parquet", [make_item("a", status="filtered")[0]])
    table = read_table(tmp_path / "m.parquet")
    assert table.schema.names == SCHEMA.names
    import pyarrow.parquet as pq

    pq.write_table(table.replace_schema_metadata({"cookhouse.schema": "99"}), tmp_path / "old.parquet")
    with pytest.raises(DataError, match="schema 99"):
        read_manifest(tmp_path / "old.parquet")


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "lost"},
        {"split": "dev"},
        {"status": "filtered"},
        {"status": "filtered", "category": "luck", "reason": "x"},
    ],
)
def test_rows_say_what_they_must(wrong: dict) -> None:
    right = {"status": "ok", "split": "train"}
    with pytest.raises(DataError):
        Row(key="a", stage="t", source="s", source_digest="", kind="text", **{**right, **wrong})


def test_counts_are_summed_and_checked() -> None:
    receipt = {"counts": {"planned": 3, "ok": 2, "filtered": 0, "quarantined": 1}}
    assert merge_counts([receipt, receipt]) == {"planned": 6, "ok": 4, "filtered": 0, "quarantined": 2}
    with pytest.raises(DataError, match="books"):
        merge_counts([{"counts": {"planned": 3, "ok": 2, "filtered": 0, "quarantined": 0}}])
    check_share(receipt["counts"], 0.4)
    with pytest.raises(DataError, match="1 of 3"):
        check_share(receipt["counts"], 0.3)
