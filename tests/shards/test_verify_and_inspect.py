from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from cookhouse.cli.shards import shards
from pipelines.core.errors import DataError
from pipelines.shards import inspect
from pipelines.shards.index import Folder
from pipelines.shards.verify import verify


def kinds(folder: Folder) -> list[str]:
    return [problem.kind for problem in verify(folder)]


def test_what_was_written_verifies(folder: Folder) -> None:
    assert verify(folder) == []


def test_a_flipped_bit_names_the_sample(folder: Folder) -> None:
    path = folder.path("shards/unit-000001.tar")
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    problems = verify(folder)
    assert [problem.kind for problem in problems] == ["sha256", "sample"]
    assert "b-0" in problems[1].message


def test_truncated_missing_extra_and_swapped_shards_are_named(folder: Folder) -> None:
    first, second = (folder.path(f"shards/unit-00000{i}.tar") for i in range(2))
    whole = first.read_bytes()
    first.write_bytes(whole[:2048])
    assert kinds(folder)[:2] == ["size", "sha256"]
    first.unlink()
    assert kinds(folder) == ["missing"]
    first.write_bytes(second.read_bytes())
    second.write_bytes(whole)
    swapped = [problem for problem in verify(folder) if problem.kind == "swapped"]
    assert [(problem.file, problem.message.split()[-1]) for problem in swapped] == [
        ("shards/unit-000000.tar", "shards/unit-000001.tar"),
        ("shards/unit-000001.tar", "shards/unit-000000.tar"),
    ]
    first.write_bytes(whole)
    assert any("unit-000001" in problem.file for problem in verify(folder))


def test_a_shard_without_manifest_and_a_unit_twice_are_named(folder: Folder) -> None:
    shutil.copy(folder.path("shards/unit-000000.tar"), folder.path("shards/unit-000007.tar"))
    assert kinds(folder) == ["extra"]
    shutil.copy(folder.path("manifest/unit-000000.parquet"), folder.path("manifest/unit-000007.parquet"))
    assert set(kinds(folder)) == {"extra", "duplicate"}


def test_an_unreadable_manifest_is_named(folder: Folder) -> None:
    folder.path("manifest/unit-000000.parquet").write_bytes(b"PAR1 no")
    assert kinds(folder) == ["unreadable", "extra"]


def test_stats_count_everything(folder: Folder) -> None:
    totals = inspect.stats(folder)
    assert (totals["planned"], totals["ok"], totals["filtered"], totals["quarantined"]) == (9, 7, 1, 1)
    assert totals["split"] == {"test": 1, "train": 5, "val": 1}
    assert totals["left_out"] == {"filtered: parse": 1, "quarantined: parse": 1}
    assert totals["shards"] == 2


def test_a_sample_is_found_described_and_extracted(folder: Folder, tmp_path: Path) -> None:
    row = inspect.find(folder, "b-1")
    assert inspect.describe(folder, row)["parts"] == {"jpg": 700, "json": len(inspect.take(folder, row)["json"])}
    assert [path.name for path in inspect.extract(folder, row, tmp_path / "out")] == ["b-1.jpg", "b-1.json"]
    with pytest.raises(DataError, match="5 samples have a key"):
        inspect.find(folder, "b-")
    lost = inspect.find(folder, "b-4")
    assert inspect.describe(folder, lost)["reason"] == "it is broken"
    with pytest.raises(DataError, match="was not written"):
        inspect.take(folder, lost)


def test_the_command_line_verifies_and_lists(folder: Folder, tmp_path: Path) -> None:
    run = CliRunner().invoke
    root = str(folder.root)
    assert "7 samples" in run(shards, ["verify", root]).output
    assert "left_out" in run(shards, ["stats", root]).output
    listed = run(shards, ["inspect", root, "--status", "quarantined"]).output
    assert "b-4" in listed
    assert "it is broken" in listed
    assert "b-3" not in listed
    assert '"key": "a-1"' in run(shards, ["inspect", root, "a-1"]).output
    folder.path("shards/unit-000000.tar").unlink()
    assert run(shards, ["verify", root]).exit_code == 1
    assert "no shards here" in str(run(shards, ["verify", str(tmp_path)]).exception)
