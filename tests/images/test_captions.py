from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from cookhouse.stages.captions import CaptionShards, build_caption_shards
from pipelines.core.errors import DataError
from pipelines.core.sandbox import SandboxError
from pipelines.images.captions import read_captions
from pipelines.images.decode import read_picture
from pipelines.shards.index import ShardIndex
from pipelines.shards.inspect import rows
from pipelines.shards.read import decode_parts, read_sample
from pipelines.shards.verify import verify
from pipelines.workflow.inprocess import run_stage_inprocess

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


def test_a_broken_caption_table_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_text('{"file": "a", "caption": "b"}\n{"file": "a"}\n')
    with pytest.raises(DataError, match="line 2"):
        read_captions(path)


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
