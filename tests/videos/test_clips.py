"""From files to shards, on clips made here; the sandbox is the real one."""

from __future__ import annotations

import io
import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stage_runs import plain_folder, run_stage_inprocess

from cookhouse.stages.videos import VideoShards, build_video_shards
from pipelines.core.errors import DataError
from pipelines.core.sandbox import SandboxError
from pipelines.media.video import DecodeSpec, read_frames
from pipelines.shards.index import ShardIndex
from pipelines.shards.inspect import rows
from pipelines.shards.read import decode_parts, read_sample
from pipelines.shards.verify import verify
from pipelines.workflow.artifact import Artifact
from toy.corpus.clips import BAD, PLANS, write_clips

SPEC = DecodeSpec(fps=5, max_frames=24, view_pixels=160 * 160)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("corpus")
    listed = write_clips(directory, 0)
    (directory / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    return directory


@pytest.fixture(scope="module")
def made(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    config = VideoShards(fps=5, max_frames=24, view_pixels=160 * 160)
    store = tmp_path_factory.mktemp("store")
    return run_stage_inprocess(build_video_shards, config, {"sources": plain_folder(corpus, "corpus")}, store)


def test_every_clip_is_accounted_for(made: Artifact) -> None:
    found = list(rows(made))
    assert {row.source for row in found} == {f"videos/{p.name}{p.suffix}" for p in PLANS} | {f"videos/{BAD}"}
    assert [(row.source, row.category) for row in found if row.status != "ok"] == [(f"videos/{BAD}", "parse")]
    assert "/" not in (next(row for row in found if row.status != "ok").reason or "").replace(f"videos/{BAD}", "")
    assert {key: made.stats[key] for key in ("planned", "ok", "filtered", "quarantined", "sources")} == {
        "planned": 31, "ok": 30, "filtered": 0, "quarantined": 1, "sources": 11,
    }  # fmt: skip
    assert verify(made) == []


def test_every_codec_gives_frames_at_their_times(made: Artifact) -> None:
    seconds = {f"videos/{plan.name}{plan.suffix}": plan.seconds for plan in PLANS}
    for ref in ShardIndex.from_artifacts([made]).select(tag="caption"):
        parts = decode_parts(read_sample(ref))
        video = parts["json"]["messages"][0]["content"][0]
        expected = seconds[parts["json"]["meta"]["source"]] * 5
        assert abs(len(video["ticks"]) - expected) <= 1
        assert video["ticks"] == sorted(set(video["ticks"]))
        assert video["ticks"][0] == 0
        assert [parts[name].size for name in video["parts"]] == [(224, 112)] * len(video["parts"])
        assert (ref.frames, ref.width, ref.height) == (len(video["parts"]), 224, 112)


def test_words_appear_when_the_plan_says(made: Artifact) -> None:
    for ref in ShardIndex.from_artifacts([made]).select(tag="caption"):
        parts = decode_parts(read_sample(ref))
        plan = next(plan for plan in PLANS if plan.name in parts["json"]["meta"]["source"])
        if plan.shows != "word":
            continue
        video = parts["json"]["messages"][0]["content"][0]
        for name, tick in zip(video["parts"], video["ticks"], strict=True):
            shown = np.asarray(parts[name].convert("L")).min() < 150
            if abs(tick / 10 - 0.25 * plan.seconds) > 0.15:
                assert shown == (tick / 10 > 0.25 * plan.seconds), (plan.name, tick)


def test_splits_are_those_declared_and_answers_are_targets(made: Artifact) -> None:
    index = ShardIndex.from_artifacts([made])
    assert {row.source.split("/")[1].split(".")[0] for row in rows(made) if row.split == "test"} == {
        plan.name for plan in PLANS if plan.split == "test"
    }
    for ref in index.select(tag="question"):
        sample = json.loads(read_sample(ref)["json"])
        assert sample["mode"] == "short"
        assert sample["messages"][1]["content"] == sample["meta"]["answer"]


def test_a_second_run_gives_the_same_bytes(made: Artifact, corpus: Path, tmp_path: Path) -> None:
    config = VideoShards(fps=5, max_frames=24, view_pixels=160 * 160, workers=1)
    again = run_stage_inprocess(build_video_shards, config, {"sources": plain_folder(corpus, "corpus")}, tmp_path)
    assert again.key == made.key
    assert again.content_digest == made.content_digest


def test_user_videos_without_text_are_kept_but_not_trained_on(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    clip = corpus / "videos" / "clip-07-slow.mov"
    for name in ("one.mov", "copy.mov"):
        shutil.copy(clip, folder / name)
    (folder / "note.txt").write_text("not a video")
    (folder / "words.mp4").write_text("<html>not a video</html>")
    (folder / "zero.avi").write_bytes(b"")
    (folder / "bad-sidecar.mov").write_bytes(clip.read_bytes() + b" ")
    (folder / "bad-sidecar.json").write_text('{"captions": [1]}')
    made = run_stage_inprocess(
        build_video_shards, VideoShards(source=str(folder), max_quarantine_share=1.0), {}, tmp_path / "store"
    )
    assert {row.source: (row.status, row.category, row.tags) for row in rows(made)} == {
        "bad-sidecar.mov": ("quarantined", "parse", ()),
        "copy.mov": ("ok", None, ("unlabelled", "none")),
        "one.mov": ("filtered", "duplicate", ()),
        "words.mp4": ("quarantined", "parse", ()),
        "zero.avi": ("quarantined", "parse", ()),
    }
    assert ShardIndex.from_artifacts([made]).select() == []


def test_too_many_bad_files_fail_the_stage(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.mp4").write_text("no")
    with pytest.raises(DataError, match="1 of 1 samples were quarantined"):
        run_stage_inprocess(build_video_shards, VideoShards(source=str(tmp_path / "mine")), {}, tmp_path / "store")
    (tmp_path / "mine" / "a.mp4").rename(tmp_path / "mine" / "a.doc")
    with pytest.raises(DataError, match="none ends in"):
        run_stage_inprocess(build_video_shards, VideoShards(source=str(tmp_path / "mine")), {}, tmp_path / "store")


def test_a_clip_cut_in_the_middle_keeps_what_decoded(corpus: Path, tmp_path: Path) -> None:
    data = (corpus / "videos" / "clip-03-vp8.webm").read_bytes()
    path = tmp_path / "cut.webm"
    path.write_bytes(data[: len(data) // 2])
    frames = read_frames(str(path), SPEC)
    assert frames.partial
    assert 0 < frames.facts["decoded"] < 45
    assert len(frames.jpegs) == len(frames.ticks) < 15


def test_rotation_metadata_is_honoured(tmp_path: Path) -> None:
    import av

    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 112, 56, "yuv420p"
        picture = np.zeros((56, 112, 3), np.uint8)
        picture[:, :56] = 255  # white left half
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    plain = b"".join(value.to_bytes(4, "big") for value in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    turned = b"".join(value.to_bytes(4, "big") for value in (0, 0x10000, 0, 2**32 - 0x10000, 0, 0, 0, 0, 0x40000000))
    place = data.index(b"tkhd") + 44
    assert data[place : place + 36] == plain
    path.write_bytes(data[:place] + turned + data[place + 36 :])
    frames = read_frames(str(path), SPEC)
    assert (frames.width, frames.height) == (56, 112)
    grey = np.asarray(Image.open(io.BytesIO(frames.jpegs[0])).convert("L"))
    assert grey[:50].mean() > 200
    assert grey[-50:].mean() < 50


def test_files_without_frames_say_why(tmp_path: Path) -> None:
    with pytest.raises(SandboxError) as missing:
        read_frames(str(tmp_path / "none.mp4"), SPEC)
    assert missing.value.category == "source_unavailable"
    (tmp_path / "tone.wav").write_bytes(_silence())
    with pytest.raises(SandboxError) as audio:
        read_frames(str(tmp_path / "tone.wav"), SPEC)
    assert audio.value.category == "empty"


def _silence() -> bytes:
    import wave

    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return buffer.getvalue()


def test_limits_cut_the_work(corpus: Path) -> None:
    path = str(corpus / "videos" / "clip-00-h264.mp4")
    cut = read_frames(path, DecodeSpec(fps=5, max_frames=24, view_pixels=25600, max_decoded=10))
    assert cut.facts["decoded"] == 10
    assert "limit" in cut.partial
    with pytest.raises(SandboxError, match="policy"):
        read_frames(path, DecodeSpec(fps=5, max_frames=24, view_pixels=25600, max_pixels=100))
    assert len(read_frames(path, DecodeSpec(fps=10, max_frames=7, view_pixels=25600)).jpegs) == 7


def test_all_real_videos_are_accounted_for(real_videos: Path, tmp_path: Path) -> None:
    config = VideoShards(source=str(real_videos), fps=2, max_frames=48, view_pixels=160 * 160)
    made = run_stage_inprocess(build_video_shards, config, {}, tmp_path)
    found = list(rows(made))
    assert {row.source for row in found} == {path.name for path in real_videos.iterdir() if path.suffix != ".json"}
    assert [row.source for row in found if "partial" in row.tags] == ["derived__flower-truncated.mp4"]
    assert all(row.status == "ok" for row in found)
    assert verify(made) == []
