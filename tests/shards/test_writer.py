from __future__ import annotations

import hashlib
import io
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.errors import DataError
from pipelines.shards.read import parse_sample
from pipelines.shards.writer import KEY, Sample, check_names, write_shard

SAMPLES = [Sample(f"s-{i}", {"json": b"{}", "jpg": bytes([i]) * (i * 700)}) for i in range(20)]


def test_equal_samples_give_equal_bytes_whenever_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_shard(tmp_path / "a.tar", SAMPLES)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    second = write_shard(tmp_path / "b" / "b.tar", SAMPLES)
    assert first == second
    data = (tmp_path / "a.tar").read_bytes()
    assert data == (tmp_path / "b" / "b.tar").read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (first.sha256, first.size)


def test_entries_address_the_bytes_of_their_sample(tmp_path: Path) -> None:
    receipt = write_shard(tmp_path / "a.tar", SAMPLES)
    data = (tmp_path / "a.tar").read_bytes()
    for sample, entry in zip(SAMPLES, receipt.entries, strict=True):
        part = data[entry.offset : entry.offset + entry.length]
        assert hashlib.sha256(part).hexdigest() == entry.sha256
        assert parse_sample(part, sample.key, "a.tar") == dict(sample.parts)


def test_members_are_plain_ustar_with_fixed_owner_and_time(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", SAMPLES)
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members[:4]] == ["s-0.jpg", "s-0.json", "s-1.jpg", "s-1.json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "root", "root", 0o644)}
    assert not any(member.pax_headers for member in members)


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    def broken() -> object:
        yield SAMPLES[0]
        raise RuntimeError("the source died")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "a.tar", broken())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".a.tar.12345678.tmp").write_bytes(b"half")
    write_shard(tmp_path / "a.tar", SAMPLES[:1])
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("key", ["paper.v1", "", "A", "a/b", "a" * 81, "ä"])
def test_keys_that_readers_would_cut_or_merge_are_refused(key: str) -> None:
    with pytest.raises(DataError):
        check_names(key, {"json": b""})


@pytest.mark.parametrize("part", ["pkl", "pyd", "pth", "x.pickle", "npy", "a.b.json", "JSON", ""])
def test_parts_that_could_be_unpickled_are_refused(part: str) -> None:
    with pytest.raises(DataError):
        check_names("a", {part: b""})


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        write_shard(tmp_path / "a.tar", [SAMPLES[1], SAMPLES[1]])
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(KEY, fullmatch=True), st.binary(max_size=2000), min_size=1, max_size=8))
def test_webdataset_grouping_gives_back_every_key_and_byte(contents: dict[str, bytes]) -> None:
    import tempfile

    import webdataset as wds

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        write_shard(path, [Sample(key, {"jpg": data, "json": b"{}"}) for key, data in contents.items()])
        members = wds.tariterators.tar_file_expander([{"url": "a.tar", "stream": io.BytesIO(path.read_bytes())}])
        found = {s["__key__"]: s["jpg"] for s in wds.tariterators.group_by_keys(members)}
    assert found == contents


def test_writing_shards_does_not_load_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from pipelines.shards.writer import Sample, write_shard; "
        f"write_shard({str(tmp_path / 'a.tar')!r}, [Sample('a', {{'json': b'1'}})]); "
        "from pipelines.shards.read import stream; "
        f"assert len(list(stream({str(tmp_path / 'a.tar')!r}))) == 1; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])
