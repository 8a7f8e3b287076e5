"""Whole files, exclusive files, units, and the artifact as a reader sees it."""

from __future__ import annotations

import errno
import hashlib
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from stage_runs import plain_folder
from toy_recipe import carry_out, recipe

from pipelines.core.errors import ConfigError, DataError
from pipelines.workflow.files import create_json, read_json, translate_full_disk, write_json
from pipelines.workflow.store import Store, commit


def test_exactly_one_of_many_creates(tmp_path) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: create_json(tmp_path / "a.json", {"n": n}), range(32)))
    assert won.count(True) == 1
    assert read_json(tmp_path / "a.json")["n"] == won.index(True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_torn_file_reads_as_none(tmp_path) -> None:
    (tmp_path / "a.json").write_text('{"half": ')
    assert read_json(tmp_path / "a.json") is None
    assert read_json(tmp_path / "none.json") is None


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    write_json(tmp_path / "a.json", {"n": 1})

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="disk is full") as caught:
        write_json(tmp_path / "a.json", {"n": 2})
    assert "MiB are free" in str(caught.value)
    assert read_json(tmp_path / "a.json") == {"n": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_other_errors_stay_what_they_are(tmp_path) -> None:
    error = OSError(errno.EACCES, "no")
    assert translate_full_disk(error, tmp_path) is error


def test_units_need_their_files_and_a_plain_name(store: Store) -> None:
    out = store.begin(store.folder("s", "a", "0" * 64))
    with pytest.raises(DataError, match="not there"):
        out.commit_unit("u", {"files": ["gone.txt"]})
    with pytest.raises(ConfigError, match="unit name"):
        out.commit_unit("../u", {})


def test_a_new_attempt_adopts_units_and_only_their_files(store: Store) -> None:
    folder = store.folder("s", "a", "0" * 64)
    first = store.begin(folder)
    for name in ("whole.txt", "torn.txt"):
        (first.dir / name).write_text(name)
    first.commit_unit("u1", {"files": ["whole.txt"], "n": 1})
    second = store.begin(folder)
    (second.dir / "mine.txt").write_text("x")
    second.scratch.joinpath("junk").write_text("x")
    assert second.units() == {"u1": {"files": ["whole.txt"], "n": 1}}
    assert second.path("whole.txt") == first.dir / "whole.txt"
    assert second.path("new") == second.dir / "new"
    assert list(second.results()) == ["mine.txt", "whole.txt"]
    (first.dir / "whole.txt").unlink()
    assert store.begin(folder).units() == {}, "a receipt without its files does not count"


def test_what_a_unit_hashed_is_not_read_again_and_only_where_it_lies(store: Store) -> None:
    folder = store.folder("s", "a", "0" * 64)
    first = store.begin(folder)
    for name in ("whole.txt", "again.txt"):
        (first.dir / name).write_text(name)
        first.commit_unit(name[:5], {"files": [name], "digests": {name: f"told of {name}"}})
    second = store.begin(folder)
    (second.dir / "again.txt").write_text("made anew")
    (second.dir / "plain.txt").write_text("plain")
    record = commit(second, {"step": "s", "stage": "a", "key": "0" * 64, "generation": 1}, {}, seconds=0.0)
    manifest = json.loads((record.folder / record.data["manifest"]).read_text())
    assert {row["path"]: row["sha256"] for row in manifest["content"]["files"]} == {
        "whole.txt": "told of whole.txt",
        "again.txt": hashlib.sha256(b"made anew").hexdigest(),
        "plain.txt": hashlib.sha256(b"plain").hexdigest(),
    }


def test_a_forced_generation_adopts_nothing(store: Store) -> None:
    folder = store.folder("s", "a", "0" * 64)
    first = store.begin(folder)
    first.commit_unit("u1", {})
    again = store.begin(folder, generation=2)
    assert again.units() == {}
    assert again.dir.name.startswith("2-")
    assert store.pending_units(folder, 1) == 1
    assert store.pending_units(folder, 2) == 0


def test_an_artifact_resolves_logical_names(planned, store) -> None:
    record = carry_out(store, planned(recipe(), until=("numbers",)))["numbers"].record
    artifact = pickle.loads(pickle.dumps(record.open("numbers")))
    assert artifact.names == tuple(f"parts/{n}.txt" for n in range(4))
    assert [path.read_text() for path in artifact.glob("parts/*.txt")] == ["0", "1", "2", "3"]
    assert artifact.path("parts/2.txt").read_text() == "2"
    assert artifact.path("parts").is_dir()
    assert artifact.path(artifact.places["parts/1.txt"]).read_text() == "1"
    assert artifact.stats["main_metric"] == ["count", 4]
    with pytest.raises(DataError, match=r"has no 'parts/9\.txt'"):
        artifact.path("parts/9.txt")


def test_the_manifest_tells_content_from_attendant(planned, store) -> None:
    record = carry_out(store, planned(recipe(), until=("numbers",)))["numbers"].record
    manifest = json.loads((record.folder / record.data["manifest"]).read_text())
    assert [row["path"] for row in manifest["content"]["files"]] == [f"parts/{n}.txt" for n in range(4)]
    assert set(manifest["content"]) == {"files", "bytes", "units"}
    assert "places" in manifest["attendant"]


def test_a_folder_as_artifact(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_text("b")
    artifact = plain_folder(tmp_path, "corpus")
    assert artifact.names == ("a/b.txt",)
    assert artifact.path("a").is_dir()


def test_a_lost_manifest_says_what_to_do(planned, store) -> None:
    record = carry_out(store, planned(recipe(), until=("numbers",)))["numbers"].record
    (record.folder / record.data["manifest"]).unlink()
    with pytest.raises(DataError, match="--force numbers"):
        _ = record.open("numbers").names
