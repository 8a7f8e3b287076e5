"""Others open what we write: plain webdataset, Ray Data, Megatron-Energon."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import energon_layout as energon
from benchmarks.peers import find_peer
from pipelines.core.errors import ConfigError
from pipelines.shards.index import Folder, ShardIndex
from pipelines.shards.manifest import Row
from pipelines.shards.read import read_sample
from pipelines.shards.sample import encode_jpeg, image_content, sample_json, text_content, turn
from pipelines.shards.unit import write_unit


@pytest.fixture
def mixed(tmp_path: Path) -> Folder:
    """Two shards with samples of two splits, one of a single split, one unlabelled sample."""
    from PIL import Image

    jpeg = encode_jpeg(Image.new("RGB", (32, 24), "teal"))

    def item(key: str, split: str, tags: tuple[str, ...] = ()):
        data = sample_json("caption", split, "none", turn([image_content(), text_content("Describe.")], key), {})
        row = Row(key, "ok", "test", f"{key}.png", "0" * 64, split, "caption", views=1, text_bytes=9, tags=tags)
        return row, {"jpg": jpeg, "json": data}

    root = tmp_path / "mixed"
    write_unit(root, "u-000000", [item("a", "train"), item("b", "test"), item("c", "train"), item("d", "val")])
    write_unit(root, "train-000001", [item("e", "train"), item("f", "train")])
    write_unit(root, "u-000002", [item("g", "train", ("unlabelled",)), item("h", "train"), item("i", "test")])
    return Folder(root, "mixed")


def test_plain_webdataset_opens_every_shard(mixed: Folder) -> None:
    import webdataset as wds

    urls = [str(path) for path in mixed.glob("shards/*.tar")]
    samples = list(wds.WebDataset(urls, shardshuffle=False).decode("pilrgb"))
    assert "".join(sample["__key__"] for sample in samples) == "efabcdghi"
    assert samples[0]["jpg"].size == (32, 24)
    assert samples[0]["json"]["messages"][-1]["content"] == "e"


@pytest.mark.slow
def test_ray_data_opens_every_shard(mixed: Folder, ray_session: object) -> None:
    import ray

    rows = ray.data.read_webdataset([str(path) for path in mixed.glob("shards/*.tar")]).take_all()
    assert sorted(row["__key__"] for row in rows) == list("abcdefghi")
    assert all(row["jpg"].shape == (24, 32, 3) for row in rows)


def test_a_layout_for_energon_is_split_by_split(mixed: Folder, tmp_path: Path) -> None:
    totals = energon.lay_out([mixed], tmp_path / "out")
    assert totals == {"train": 5, "val": 1, "test": 2}
    keys: dict[str, str] = {}
    for path in sorted((tmp_path / "out" / "shards").iterdir()):
        with tarfile.open(path) as tar:
            names = [name for name in tar.getnames() if name.endswith(".json")]
            split = path.name.partition("-")[0]
            keys[split] = keys.get(split, "") + "".join(name.partition(".")[0] for name in names)
    assert {split: "".join(sorted(found)) for split, found in keys.items()} == {
        "train": "acefh", "val": "d", "test": "bi"
    }  # fmt: skip
    whole = tmp_path / "out" / "shards" / "train-mixed-000001.tar"
    assert whole.stat().st_ino == mixed.path("shards/train-000001.tar").stat().st_ino


def test_a_layout_never_lands_in_shards_or_in_a_full_folder(mixed: Folder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies inside the shards"):
        energon.lay_out([mixed], mixed.root / "attempts" / "energon")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        energon.lay_out([mixed], tmp_path / "full")


@pytest.mark.slow
def test_energon_indexes_and_lints_the_layout(mixed: Folder, tmp_path: Path) -> None:
    python = find_peer("energon")
    if not isinstance(python, Path):
        pytest.skip("the peer energon is not installed (make peers)")
    command = str(python.with_name("energon"))
    energon.lay_out([mixed], tmp_path / "out")
    energon.index(tmp_path / "out", command)
    energon.lint(tmp_path / "out", command)
    counts = json.loads((tmp_path / "out" / ".nv-meta" / ".info.json").read_text())["shard_counts"]
    assert sum(counts.values()) == 8


def test_a_copied_range_is_the_sample(mixed: Folder, tmp_path: Path) -> None:
    energon.lay_out([mixed], tmp_path / "out")
    refs = {ref.key: ref for ref in ShardIndex.from_artifacts([mixed]).refs}
    place = str(tmp_path / "out" / "shards" / "train-mixed-u-000000.tar")
    moved = replace(refs["c"], shard=place, offset=refs["a"].length)
    assert read_sample(moved) == read_sample(refs["c"])
