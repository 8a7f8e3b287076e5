from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stage_runs import run_stage_inprocess

from cookhouse.stages.captions import CaptionShards, build_caption_shards
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.sandbox import SandboxError
from pipelines.images.sources import read_captions, read_tar
from pipelines.media.likeness import likeness, near_copies
from pipelines.media.picture import read_picture
from pipelines.shards.index import ShardIndex
from pipelines.shards.inspect import rows
from pipelines.shards.read import decode_parts, read_sample
from pipelines.shards.verify import verify

LIMITS = (1_000_000, 100_000_000, 95)


def save(path: Path, colour: str = "red", size: tuple[int, int] = (60, 40), **options: object) -> Path:
    Image.new("RGB", size, colour).save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures"
    (place / "deep").mkdir(parents=True)
    save(place / "a.png", "red")
    (place / "b.png").write_bytes((place / "a.png").read_bytes())
    save(place / "c.jpg", "green")
    save(place / "deep" / "d.png", "blue")
    save(place / "small.png", "blue", (8, 8))
    data = save(place / "e.png", "black", (300, 200)).read_bytes()
    (place / "cut.png").write_bytes(data[: len(data) // 2])
    (place / "f.gif").write_bytes(b"<html>")
    lines = [{"file": name, "caption": f"A {name}."} for name in ("a.png", "b.png", "small.png", "cut.png", "f.gif")]
    (place / "captions.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    (place / "deep" / "captions.jsonl").write_text('{"file": "d.png", "caption": " Deep. "}\n')
    return place


def test_every_picture_has_a_row_and_the_right_one(folder: Path, tmp_path: Path) -> None:
    made = run_stage_inprocess(
        build_caption_shards, CaptionShards(source=str(folder), files_per_unit=3), {}, tmp_path / "s"
    )
    assert {row.source: (row.status, row.category) for row in rows(made)} == {
        "a.png": ("ok", None),
        "b.png": ("filtered", "duplicate"),
        "c.jpg": ("filtered", "empty_text"),
        "cut.png": ("quarantined", "decode"),
        "deep/d.png": ("ok", None),
        "e.png": ("filtered", "empty_text"),
        "f.gif": ("quarantined", "parse"),
        "small.png": ("filtered", "policy"),
    }
    assert verify(made) == []
    targets = {}
    for ref in ShardIndex.from_artifacts([made]).refs:
        parts = decode_parts(read_sample(ref))
        targets[parts["json"]["meta"]["source"]] = parts["json"]["messages"][1]["content"]
        assert parts["jpg"].size == (ref.width, ref.height) == (60, 40)
    assert targets == {"a.png": "A a.png.", "deep/d.png": "Deep."}


def test_pictures_are_upright_opaque_and_bounded(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    turned = save(tmp_path / "turned.jpg", "red", (60, 40), exif=exif)
    picture = read_picture(str(turned), *LIMITS)
    assert (picture.width, picture.height, picture.source_width) == (40, 60, 60)
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    clear = read_picture(str(tmp_path / "clear.png"), *LIMITS)
    assert Image.open(io.BytesIO(clear.jpeg)).getpixel((9, 9)) == (255, 255, 255)
    large = read_picture(str(save(tmp_path / "large.png", "red", (400, 100))), 10_000, 10**9, 95)
    assert large.width * large.height <= 10_000
    assert large.width == 4 * large.height


def test_bombs_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="policy"):
        read_picture(str(save(tmp_path / "a.png")), 100, 100, 95)
    with pytest.raises(SandboxError, match="source_unavailable"):
        read_picture(str(tmp_path / "none.png"), *LIMITS)


def test_a_broken_caption_table_names_its_row(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"file": "a", "caption": "b"}\n{"file": "a"}\n')
    with pytest.raises(DataError, match="row 2"):
        read_captions(path)


def test_sidecars_parquet_and_missing_pictures(tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    for name in ("a.png", "b.png", "c.png", "d.png"):
        save(place / name, "red", (40 + ord(name[0]) - 90, 30))
    (place / "a.txt").write_text(" From a text. ")
    (place / "b.json").write_text('{"caption": "From JSON."}')
    (place / "c.json").write_text('{"caption": 3}')
    table = [{"uri": "d.png", "text": "From Parquet."}, {"uri": "gone.png", "text": "Gone."}]
    pq.write_table(pa.Table.from_pylist(table), place / "captions.parquet")
    made = run_stage_inprocess(build_caption_shards, CaptionShards(source=str(place)), {}, tmp_path / "s")
    assert {row.source: (row.status, row.category) for row in rows(made)} == {
        "a.png": ("ok", None),
        "b.png": ("ok", None),
        "c.png": ("quarantined", "parse"),
        "d.png": ("ok", None),
        "gone.png": ("quarantined", "source_unavailable"),
    }
    said = [
        json.loads(read_sample(ref)["json"])["messages"][1]["content"] for ref in ShardIndex.from_artifacts([made]).refs
    ]
    assert said == ["From a text.", "From JSON.", "From Parquet."]


def textured(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def length(picture: Image.Image, caption: str) -> float:
    """A score for the tests: how long the caption is."""
    assert picture.width
    return float(len(caption))


def test_filters_leave_out_by_aspect_likeness_and_score(tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    textured(1).save(place / "a.png")
    textured(1, (320, 240)).save(place / "b.jpg", quality=80)
    textured(2).save(place / "c.png")
    textured(3, (600, 40)).save(place / "d.png")
    save(place / "e.png", "red")
    save(place / "f.png", "green")
    for name in "abcdef":
        (place / f"{name}.txt").write_text("short" if name == "c" else "a longer caption")
    config = CaptionShards(
        source=str(place), max_aspect=4, dedup="near", score=f"{__name__}:length", min_score=6, files_per_unit=2
    )
    made = run_stage_inprocess(build_caption_shards, config, {}, tmp_path / "s")
    told = {row.source: (row.status, row.category, (row.reason or "").split(",")[0]) for row in rows(made)}
    assert told == {
        "a.png": ("ok", None, ""),
        "b.jpg": ("filtered", "duplicate", "looks like a.png"),
        "c.png": ("filtered", "policy", f"score 5 of {__name__}:length is below 6"),
        "d.png": ("filtered", "policy", "600x40 pixels"),
        "e.png": ("ok", None, ""),  # plain surfaces look alike and are no copies
        "f.png": ("ok", None, ""),
    }
    assert json.loads(next(row for row in rows(made) if row.source == "a.png").detail) == {"score": 16.0}
    with pytest.raises(ConfigError, match="cannot be imported"):
        run_stage_inprocess(
            build_caption_shards, CaptionShards(source=str(place), score="no:where"), {}, tmp_path / "s"
        )


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 63), max_size=5))
def test_pictures_that_differ_in_few_bits_are_always_found(mark: int, flips: list[int]) -> None:
    other = mark
    for bit in flips:
        other ^= 1 << bit
    alike = mark.bit_count() >= 4 and other.bit_count() >= 4 and (mark ^ other).bit_count() <= 3
    assert near_copies([("a", mark), ("b", other)]) == ({"b": "a"} if alike else {})


def test_likeness_survives_size_and_quality(tmp_path: Path) -> None:
    textured(5, (400, 300)).save(tmp_path / "a.jpg", quality=40)
    assert (likeness(textured(5)) ^ likeness(Image.open(tmp_path / "a.jpg"))).bit_count() <= 3
    assert (likeness(textured(5)) ^ likeness(textured(6))).bit_count() > 12


def test_tars_of_other_makers_are_read(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "in"
    place.mkdir()
    red, green = (folder / "a.png").read_bytes(), (folder / "c.jpg").read_bytes()
    members = {
        "x/0001.jpg": green, "x/0001.txt": b"Green.", "x/0001.json": b"{}",
        "x/0002.png": red, "x/0002.json": b'{"caption": "Red."}',
        "x/0003.png": red, "x/0003.txt": b"Again.",
        "x/0004.txt": b"No picture.",
        "x/0005.webp": b"<html>", "x/0005.txt": b"Broken.",
    }  # fmt: skip
    with tarfile.open(place / "00000.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = (place / "00000.tar").read_bytes()
    (place / "00001.tar").write_bytes(data[: 512 * 5])
    made = run_stage_inprocess(
        build_caption_shards, CaptionShards(source=str(place), max_quarantine_share=1.0), {}, tmp_path / "s"
    )
    assert {row.source: (row.status, row.category) for row in rows(made)} == {
        "00000.tar/x/0001": ("ok", None),
        "00000.tar/x/0002": ("ok", None),
        "00000.tar/x/0003": ("filtered", "duplicate"),
        "00000.tar/x/0005": ("quarantined", "parse"),
        "00001.tar/x/0001": ("ok", None),
        "00001.tar": ("quarantined", "parse"),
    }
    assert [member.caption for member in read_tar(place / "00000.tar")] == ["Green.", "Red.", "Again.", "Broken."]
    assert verify(made) == []


def test_all_real_images_are_accounted_for(tmp_path: Path) -> None:
    shared = Path(os.environ.get("COOKHOUSE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    folder = shared / "data" / "images"
    if not folder.exists():
        pytest.skip("data/images of the shared data is not here")
    made = run_stage_inprocess(build_caption_shards, CaptionShards(source=str(folder)), {}, tmp_path)
    found = list(rows(made))
    assert {row.source for row in found} == {path.name for path in folder.iterdir()}
    assert [(row.source, row.category) for row in found if row.status == "quarantined"] == [
        ("torchcodec__corrupt.jpg", "decode")
    ]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (2, {"p0.png": "ok", "p1.png": "ok"}),
        (9, {"p0.png": "ok", "p1.png": "ok", "p2.png": "ok", "gone.png": "quarantined"}),
    ],
)
def test_a_first_try_takes_the_first_pictures_of_a_mixed_folder(
    tmp_path: Path, limit: int, expected: dict[str, str]
) -> None:
    place = tmp_path / "mixed"
    place.mkdir()
    for number in range(4):
        (place / f"a{number}.pdf").write_bytes(b"%PDF")
    for number, colour in enumerate(("red", "green", "blue")):
        save(place / f"p{number}.png", colour)
    lines = [{"file": f"{name}.png", "caption": "Seen."} for name in ("p0", "p1", "p2", "gone")]
    (place / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = CaptionShards(source=str(place), max_quarantine_share=0.5)
    made = run_stage_inprocess(build_caption_shards, config, {}, tmp_path / "s", limit=limit)
    assert {row.source: row.status for row in rows(made)} == expected
