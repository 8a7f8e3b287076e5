"""The stage on videos cut into clips, with tables, stored clips, filters and a reader that dies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stage_runs import run_stage_inprocess

from cookhouse.stages.videos import VideoShards, build_video_shards
from pipelines.core.errors import ConfigError
from pipelines.shards.index import ShardIndex
from pipelines.shards.inspect import rows
from pipelines.shards.read import decode_parts, read_json, read_sample
from pipelines.shards.verify import verify
from pipelines.videos import clips

COLOURS = ((250, 20, 20), (20, 250, 20), (20, 20, 250))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """``scenes.mp4``: 3 s red, 3 s green, 2.5 s blue at 10 frames a second; ``still.mp4``: 4 s of one picture."""
    place = tmp_path_factory.mktemp("videos")
    write_video(place / "scenes.mp4", 85, lambda n: COLOURS[min(2, n // 30)], rate=10)
    write_video(place / "still.mp4", 40, lambda n: (90, 90, 90), rate=10)
    (place / "still.txt").write_text("Grey.")
    table = [
        {"file": "scenes.mp4", "caption": "Red.", "start": 0.0, "end": 2.5},
        {"file": "scenes.mp4", "caption": "Green.", "start": 3.5, "end": 5.5},
        {"file": "gone.mp4", "caption": "Not there.", "start": None, "end": None},
    ]
    pq.write_table(pa.Table.from_pylist(table), place / "captions.parquet")
    return place


def build(folder: Path, root: Path, **changes: object):  # type: ignore[no-untyped-def]
    config = VideoShards(source=str(folder), view_pixels=25600, max_quarantine_share=1.0, **changes)  # type: ignore[arg-type]
    return run_stage_inprocess(build_video_shards, config, {}, root)


def test_scenes_become_clips_with_the_texts_of_their_time(folder: Path, tmp_path: Path) -> None:
    artifact = build(folder, tmp_path, split_by="scenes", clip_seconds=5)
    found = [row for row in rows(artifact) if row.source == "scenes.mp4"]
    assert [(row.item, row.tags[0]) for row in found] == [(0, "caption"), (1, "caption"), (2, "unlabelled")]
    details = [json.loads(row.detail) for row in found]
    assert [(d["start"], d["end"], d["decoded"]) for d in details] == [(0, 3, 30), (3, 6, 30), (6, 8.5, 25)]
    assert details[2]["file_decoded"] == 85
    for ref in ShardIndex.from_artifacts([artifact]).select(tag="caption"):
        parts = decode_parts(read_sample(ref))
        said = parts["json"]["messages"][1]["content"]
        assert parts["json"]["messages"][0]["content"][0]["ticks"][0] == 0
        if said in ("Red.", "Green."):
            r, g, b = parts["f0000.jpg"].getpixel((9, 9))
            assert (r > g) == (said == "Red.") and b < 100
    missing = next(row for row in rows(artifact) if row.source == "gone.mp4")
    assert (missing.status, missing.category) == ("quarantined", "source_unavailable")
    assert verify(artifact) == []


def test_lengths_cut_and_what_is_too_short_is_filtered(folder: Path, tmp_path: Path) -> None:
    artifact = build(folder, tmp_path, split_by="length", clip_seconds=4, min_clip_seconds=0.6)
    told = {(row.source, row.item): (row.status, row.tags) for row in rows(artifact) if row.source != "gone.mp4"}
    assert told == {
        ("scenes.mp4", 0): ("ok", ("caption", "none")),
        ("scenes.mp4", 1): ("ok", ("caption", "none")),
        ("scenes.mp4", 2): ("filtered", ()),
        ("still.mp4", 0): ("ok", ("caption", "none", "untimed")),
    }


def test_frames_that_look_alike_are_dropped_when_asked(folder: Path, tmp_path: Path) -> None:
    artifact = build(folder, tmp_path, drop_similar=2)
    row = next(row for row in rows(artifact) if row.source == "still.mp4")
    assert (row.frames, json.loads(row.detail)["similar_dropped"]) == (1, 19)


def test_stored_clips_hold_the_frames_and_are_smaller(folder: Path, tmp_path: Path) -> None:
    frames, clip = build(folder, tmp_path), build(folder, tmp_path, store="clip")
    pairs = zip(ShardIndex.from_artifacts([frames]).refs, ShardIndex.from_artifacts([clip]).refs, strict=True)
    for plain, short in pairs:
        assert (plain.key, plain.frames, plain.width) == (short.key, short.frames, short.width)
        parts = decode_parts(read_sample(short))
        video = parts["json"]["messages"][0]["content"][0]
        assert video == {
            "type": "video",
            "part": "mp4",
            "ticks": read_json(plain)["messages"][0]["content"][0]["ticks"],
        }
        assert len(parts["mp4"]) == short.frames
        assert parts["mp4"][0].size == (short.width, short.height)
        assert short.length < plain.length / 2
    assert verify(clip) == []


def test_a_damaged_clip_is_kept_or_quarantined_by_rule(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    data = write_video(tmp_path / "whole.mkv", 300, lambda n: (n % 250, 80, 80), rate=10, gop=10).read_bytes()
    place = tmp_path / "cut"
    place.mkdir()
    (place / "cut.mkv").write_bytes(data[: len(data) // 2])
    kept = next(rows(build(place, tmp_path / "a")))
    assert kept.status == "ok" and "partial" in kept.tags
    assert 0 < json.loads(kept.detail)["decoded"] < 250
    refused = next(rows(build(place, tmp_path / "a", keep_from=0.95)))
    assert (refused.status, refused.category) == ("quarantined", "decode")
    assert "95% asked for" in (refused.reason or "")


def test_a_reader_that_dies_costs_one_more_try_and_no_clip(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(folder, tmp_path / "a", split_by="scenes")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("DYING_READER", str(tmp_path / "died"))
    monkeypatch.setattr(clips, "TARGET", "dying_reader:once")
    again = build(folder, tmp_path / "b", split_by="scenes")
    assert (tmp_path / "died").exists()
    assert [p.read_bytes() for p in again.glob("shards/*")] == [p.read_bytes() for p in whole.glob("shards/*")]
    monkeypatch.setattr(clips, "TARGET", "dying_reader:always")
    lost = build(folder, tmp_path / "c", split_by="scenes")
    told = [(row.item, row.status, row.category) for row in rows(lost) if row.source == "scenes.mp4"]
    assert told == [(0, "ok", None), (1, "quarantined", "crash")]


def test_settings_that_contradict_each_other_are_named() -> None:
    config = VideoShards(split_by="scenes", decode="keyframes")
    assert [misfit.path for misfit in config.misfits({})] == [("decode",)]
    with pytest.raises((ConfigError, ValueError), match="fps"):
        VideoShards(fps=12)
