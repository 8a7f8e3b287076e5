from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.core.errors import DataError
from pipelines.shards.index import Folder, ShardIndex
from pipelines.shards.read import decode_parts, parse_sample, read_json, read_range, read_sample, stream


def test_the_index_knows_written_samples_only_and_leaves_out_the_unlabelled(folder: Folder) -> None:
    index = ShardIndex.from_artifacts([folder])
    assert [ref.key for ref in index.refs] == ["a-0", "a-1", "a-2", "b-0", "b-1", "b-2", "b-3"]
    assert [ref.key for ref in index.select(split="train")] == ["a-0", "b-0", "b-1", "b-3"]
    assert [ref.key for ref in index.select(tag="unlabelled")] == ["b-2"]
    assert len(index.select(unlabelled=True)) == 7
    assert index.select(kind="video") == []
    assert len(index.select(split="train", dataset="set")) == 4


def test_index_refuses_two_inputs_of_one_name_and_folders_without_manifests(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two shard inputs"):
        ShardIndex.from_artifacts([folder, folder])
    with pytest.raises(DataError, match="no shard manifests"):
        ShardIndex.from_artifacts([Folder(tmp_path)])


def test_every_sample_is_read_by_its_address(folder: Folder) -> None:
    for ref in reversed(ShardIndex.from_artifacts([folder]).refs):
        parts = read_sample(ref)
        assert set(parts) == {"jpg", "json"}
        assert read_json(ref)["messages"][-1]["content"] == ref.key


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_plain_and_other_headers_are_read_alike(format: int) -> None:
    """Proven bytes take the short way where the header is plain, and the long one where a name or a link is not."""
    key = "k" * 80
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in ((f"{key}.jpg", b"x" * 700), (f"{key}.json", b"{}"), (f"{key}.{'f' * 30}.json", b"[]")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo(f"{key}.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    data = buffer.getvalue()[: buffer.tell()]
    whole = data[: len(data.rstrip(b"\0")) // 512 * 512 + 512]
    found = []
    for proven in (False, True):
        try:
            found.append(parse_sample(whole, key, "here", proven=proven))
        except DataError as error:
            found.append({"error": str(error).encode()})
    assert found[0] == found[1]


def test_a_wrong_address_is_never_read_as_a_sample(folder: Folder) -> None:
    first, second = ShardIndex.from_artifacts([folder]).refs[:2]
    with pytest.raises(DataError, match="lies where the index promises"):
        read_sample(replace(first, offset=second.offset, length=second.length))
    with pytest.raises(DataError, match="no tar header"):
        read_sample(replace(first, offset=first.offset + 512))
    with pytest.raises(DataError, match="shorter than its index says"):
        read_range(first.shard, os.path.getsize(first.shard) - 10, 100)
    with pytest.raises(DataError, match="cannot be opened"):
        read_sample(replace(first, shard="/nowhere.tar"))


def test_the_stream_gives_the_same_samples_in_file_order(folder: Folder) -> None:
    refs = [ref for ref in ShardIndex.from_artifacts([folder]).refs if ref.key.startswith("b")]
    pipeline = stream(refs[0].shard, decode=False)
    for _ in range(2):  # a pipeline can be walked again
        samples = list(pipeline)
        assert [sample["__key__"] for sample in samples] == [ref.key for ref in refs]
        assert samples[1]["jpg"] == read_sample(refs[1])["jpg"]


def test_a_cut_shard_raises_in_the_stream(folder: Folder) -> None:
    ref = ShardIndex.from_artifacts([folder]).refs[0]
    data = Path(ref.shard).read_bytes()
    Path(ref.shard).write_bytes(data[: ref.length + 512 + 100])
    with pytest.raises(Exception, match="unexpected end of data"):
        list(stream(ref.shard, decode=False))


def test_foreign_members_never_come_out(tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(tmp_path / "foreign.tar", "w") as tar:
        for name in ("a.json", "a.pkl", "a.pth"):
            info = tarfile.TarInfo(name)
            info.size = 2
            tar.addfile(info, io.BytesIO(b"{}"))
    assert [set(sample) for sample in stream(tmp_path / "foreign.tar")] == [{"__key__", "__url__", "json"}]


def test_parts_are_decoded_explicitly() -> None:
    from PIL import Image

    from pipelines.shards.sample import encode_jpeg

    decoded = decode_parts(
        {"f0000.jpg": encode_jpeg(Image.new("L", (30, 20))), "json": b'{"a": 1}', "txt": "é".encode()}
    )
    assert (decoded["f0000.jpg"].mode, decoded["f0000.jpg"].size) == ("RGB", (30, 20))
    assert (decoded["json"], decoded["txt"]) == ({"a": 1}, "é")


def test_the_loader_refuses_every_kind_of_tampering(folder: Folder) -> None:
    """Missing and cut shards when the index is made; exchanged ones and a single bit when the sample is read; a shard
    that no manifest names is never read."""
    first, second = (folder.path(f"shards/unit-00000{n}.tar") for n in range(2))
    one, two = first.read_bytes(), second.read_bytes()
    refs = ShardIndex.from_artifacts([folder]).refs
    flipped = bytearray(one)
    flipped[refs[0].offset + 600] ^= 1
    extra = folder.path("shards/unit-000009.tar")
    extra.write_bytes(two)
    assert ShardIndex.from_artifacts([folder]).refs == refs
    extra.unlink()

    first.unlink()
    with pytest.raises(DataError, match="a shard is missing"):
        ShardIndex.from_artifacts([folder])
    first.write_bytes(one[:-1024])
    with pytest.raises(DataError, match="its manifest says"):
        ShardIndex.from_artifacts([folder])
    first.write_bytes(bytes(flipped))
    with pytest.raises(DataError, match="not those of the manifest"):
        read_sample(ShardIndex.from_artifacts([folder]).refs[0])
    first.write_bytes(two[: len(one)].ljust(len(one), b"\0"))
    with pytest.raises(DataError, match="lies where the index promises"):
        read_sample(ShardIndex.from_artifacts([folder]).refs[0])


def test_a_shard_reached_under_two_names_is_refused(folder: Folder) -> None:
    with pytest.raises(DataError, match="'set' and 'again' hold the same shard"):
        ShardIndex.from_artifacts([folder, Folder(folder.root, "again")])


def test_a_header_that_lies_about_its_size_is_refused() -> None:
    import io
    import tarfile

    for size in (-4096, 1 << 40):
        info = tarfile.TarInfo("a.json")
        info.size = size
        header = info.tobuf(tarfile.GNU_FORMAT)
        with pytest.raises(DataError, match="claims"):
            parse_sample(header + io.BytesIO(b"{}").getvalue().ljust(512, b"\0"), "a", "here")
