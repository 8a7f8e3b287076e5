"""Foreign tars: taken when they can be trusted, a row with the reason when not, like any other shard afterwards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image
from stage_runs import run_stage_inprocess

from cookhouse.stages.adopt import AdoptShards, adopt_shards
from pipelines.core.errors import DataError
from pipelines.shards.adopt import read_foreign
from pipelines.shards.index import ShardIndex
from pipelines.shards.inspect import rows
from pipelines.shards.read import read_sample, stream
from pipelines.shards.sample import image_content, sample_json, turn, video_content
from pipelines.shards.verify import verify


def picture(colour: str = "red", form: str = "JPEG", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form)
    return buffer.getvalue()


def tar(path: Path, members: Iterable[tuple[str, bytes] | tarfile.TarInfo], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size, info.mtime = len(member[1]), 1_700_000_000.25  # a PAX header before every member
            archive.addfile(info, io.BytesIO(member[1]))
    return path


def link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


OURS = sample_json("video", "train", "none", turn([video_content([0, 10])], "Two frames."), {})
GOOD = [
    ("./Set.A/0001.JPEG", picture("red")),
    ("./Set.A/0001.txt", b" A red picture. \n"),
    ("./Set.A/0002.png", picture("green", "PNG")),
    ("./Set.A/0002.json", json.dumps({"caption": "Green.", "url": "x"}).encode()),
    ("0003.json", json.dumps({"text": "Only text."}).encode()),
    ("0004.json", OURS),
    ("0004.f0000.jpg", picture("blue")),
    ("0004.f0001.jpg", picture("black")),
]
BAD = [
    ("pickle.pkl", b"cos\nsystem\n(S'true'\ntR."),
    ("pickle.txt", b"text"),
    ("/etc/abs.txt", b"text"),
    ("../up.txt", b"text"),
    link("link.txt"),
    ("many.txt", b"first of its key"),
    ("other.txt", b"between"),
    ("many.txt", b"second of its key"),
    ("same.txt", b"between"),
    ("mute.jpg", picture("white")),
    ("fake.jpg", b"<html>"),
    ("fake.txt", b"no picture"),
    ("lost.json", OURS),
    ("list.json", b"[1]"),
    ("torn.json", b"{"),
    ("mode.json", json.dumps({"messages": turn([], "x"), "kind": "text", "mode": "loud"}).encode()),
    ("tick.json", json.dumps({"messages": turn([image_content("x.exe")], "x"), "kind": "text"}).encode()),
]


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    tar(tmp_path / "in" / "good.tar", GOOD)
    tar(tmp_path / "in" / "bad.tar", BAD, tarfile.GNU_FORMAT)
    return tmp_path / "in"


def adopt(folder: Path, store: Path, **changes):
    config = AdoptShards(source=str(folder), workers=1, max_quarantine_share=1.0, **changes)
    return run_stage_inprocess(adopt_shards, config, {}, store)


def test_foreign_samples_become_samples_of_ours(foreign: Path, tmp_path: Path) -> None:
    made = adopt(foreign, tmp_path / "store", split="train")
    assert verify(made) == []
    taken = [row for row in rows(made) if row.source == "good.tar"]
    assert [(row.kind, row.views, row.frames, row.width) for row in taken] == [
        ("caption", 1, 0, 40), ("caption", 1, 0, 40), ("text", 0, 0, 0), ("video", 2, 2, 40)
    ]  # fmt: skip
    assert json.loads(taken[0].detail) == {"foreign_key": "./Set.A/0001"}
    refs = {ref.key: ref for ref in ShardIndex.from_artifacts([made]).refs}
    parts = read_sample(refs[taken[0].key])
    assert parts["jpg"] == picture("red")
    sample = json.loads(parts["json"])
    assert sample["messages"][-1]["content"] == "A red picture."
    assert set(read_sample(refs[taken[3].key])) == {"json", "f0000.jpg", "f0001.jpg"}
    (shard,) = made.glob("shards/adopted-000001.tar")
    assert [found["__key__"] for found in stream(shard)] == [row.key for row in taken]


def test_what_cannot_be_trusted_has_a_row_and_is_not_written(foreign: Path, tmp_path: Path) -> None:
    made = adopt(foreign, tmp_path / "store", split="train")
    left = {
        (json.loads(row.detail)["foreign_key"], row.status): f"{row.category}: {row.reason}"
        for row in rows(made)
        if row.source == "bad.tar" and row.status != "ok"
    }
    expected = {
        ("pickle", "quarantined"): "could run code",
        ("/etc/abs", "quarantined"): "leads out",
        ("../up", "quarantined"): "leads out",
        ("link", "quarantined"): "is a link",
        ("many", "quarantined"): "duplicate: key 'many' came before",
        ("same", "filtered"): "duplicate: same content as other",
        ("mute", "quarantined"): "empty_text: no text in jpg",
        ("fake", "quarantined"): "decode",
        ("lost", "quarantined"): "name 'f0000.jpg'",
        ("list", "quarantined"): "json holds a list",
        ("torn", "quarantined"): "parse: json",
        ("mode", "quarantined"): "mode 'loud'",
        ("tick", "quarantined"): "part 'x.exe' is not on the allow-list",
    }
    assert set(left) == set(expected)
    assert [key for key, why in expected.items() if why not in left[key]] == []
    with tarfile.open(made.path("shards/adopted-000000.tar")) as archive:
        assert len(archive.getnames()) == 2  # `many` and `other`, as json each


def test_the_split_is_drawn_from_the_content_and_stays(foreign: Path, tmp_path: Path) -> None:
    many = [(f"{n:04d}.txt", f"text number {n}".encode()) for n in range(300)]
    tar(foreign / "many.tar", many)
    made = adopt(foreign, tmp_path / "store")
    splits = {row.split for row in rows(made) if row.source == "many.tar"}
    assert splits == {"train", "val", "test"}
    tar(foreign / "many.tar", [(f"x-{name}", data) for name, data in reversed(many)])
    again = adopt(foreign, tmp_path / "other")
    assert sorted(row.split for row in rows(made)) == sorted(row.split for row in rows(again))


def test_a_tar_that_breaks_off_keeps_what_came_whole(foreign: Path, tmp_path: Path) -> None:
    with tarfile.open(foreign / "good.tar") as archive:
        end = archive.getmembers()[-1].offset_data + 100
    (foreign / "good.tar").write_bytes((foreign / "good.tar").read_bytes()[:end])
    (foreign / "none.tar").write_bytes(b"")
    (foreign / "text.tar").write_bytes(b"not a tar at all" * 100)
    made = adopt(foreign, tmp_path / "store", split="train")
    found = [(row.source, row.status, row.category) for row in rows(made) if row.source != "bad.tar"]
    assert found.count(("good.tar", "ok", None)) == 3
    assert ("good.tar", "quarantined", "parse") in found
    assert ("text.tar", "quarantined", "parse") in found
    assert any(source == "none.tar" and status == "quarantined" for source, status, _ in found)


def test_limits_hold_before_anything_is_read(tmp_path: Path) -> None:
    path = tar(tmp_path / "big.tar", [("a.txt", b"x" * 5000), ("b.txt", b"y" * 100), ("n" * 600 + ".txt", b"z")])
    troubles = [sample.trouble for sample in read_foreign(path, AdoptShards(source="tars", most_member_bytes=1000))]
    assert "above the limits" in troubles[0][1]
    assert troubles[1] is None
    assert "member name" in troubles[2][1]


def test_two_workers_and_a_rerun_write_the_same_bytes(foreign: Path, tmp_path: Path) -> None:
    one, two = (adopt(foreign, tmp_path / name) for name in "ab")
    assert one.content_digest == two.content_digest


def test_too_many_bad_samples_fail_the_stage(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="were quarantined"):
        run_stage_inprocess(
            adopt_shards, AdoptShards(source=str(foreign), max_quarantine_share=0.1, workers=1), {}, tmp_path
        )
