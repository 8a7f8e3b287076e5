"""Leaving source frames out: which mode is chosen, and that what is kept stays right."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.media.modes import Timeline, choose_mode, seek_cost, slots, widest_gap
from pipelines.media.video import DecodeSpec, Frames, read_frames
from pipelines.shards.read import decode_parts

STEP = Fraction(1, 25)


def line(seconds: int, gop_seconds: Fraction | int) -> Timeline:
    end = Fraction(seconds) - STEP
    keys = tuple(n * Fraction(gop_seconds) for n in range(int(end / Fraction(gop_seconds)) + 1))
    return Timeline(Fraction(0), end, seconds * 25, keys)


@pytest.mark.parametrize(
    ("gop", "stride", "mode"),
    [
        (4, 10, "keyframes"),  # the examples of the docstring
        (2, 10, "seek"),
        (Fraction(7, 3), 3, "keyframes"),
        (8, 3, "nonref"),  # no keyframe near most of the wanted times
        (Fraction(1, 25), 1, "keyframes"),  # every frame is one: only those that are wanted are decoded
        (400, Fraction(1, 10), "nonref"),
    ],
)
def test_the_cheapest_mode_is_chosen(gop: Fraction | int, stride: Fraction | int, mode: str) -> None:
    assert choose_mode(line(120, Fraction(gop)), STEP, 1 / Fraction(stride)) == mode


@settings(deadline=None, max_examples=40)
@given(st.integers(40, 400), st.integers(1, 600), st.integers(8, 2000))
def test_keyframes_are_only_taken_where_no_slot_stays_empty(seconds: int, gop: int, stride: int) -> None:
    times = line(seconds, gop * STEP)
    rate = 1 / (stride * STEP)
    if choose_mode(times, STEP, rate) != "keyframes":
        return
    assert widest_gap(times) <= 1 / rate
    taken = {((key - times.start) * rate).__floor__() for key in times.keys}
    assert taken >= set(range(len(slots(times, rate)) - 1))
    assert seek_cost(times.keys, times.start, STEP) == 4


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> Path:
    """60 s, 1,500 frames, a keyframe every 2 s; brightness tells the time."""
    return write_video(tmp_path_factory.mktemp("long") / "a.mp4", 1500, lambda n: (40 + n // 10,) * 3)


def spec(mode: str, fps: float = 0.25, **changes: object) -> DecodeSpec:
    return DecodeSpec(fps=fps, max_frames=1080, view_pixels=25600, decode=mode, **changes)  # type: ignore[arg-type]


def brightness(frames: Frames) -> list[float]:
    pictures = decode_parts({f"f{n:04d}.jpg": data for n, data in enumerate(frames.jpegs)})
    return [float(np.asarray(picture).mean()) for picture in pictures.values()]


def test_seeking_keeps_the_frames_of_decoding_everything(long_video: Path) -> None:
    for fps in (0.25, 0.3, 1.7, 10):
        whole, sought = read_frames(str(long_video), spec("all", fps)), read_frames(str(long_video), spec("seek", fps))
        assert sought.ticks == whole.ticks
        assert sought.jpegs == whole.jpegs
        assert (whole.facts["sparse"], sought.facts["mode"], sought.partial) == (False, "seek", "")


def test_keyframes_come_at_their_own_times(long_video: Path) -> None:
    frames = read_frames(str(long_video), spec("keyframes"))
    assert frames.facts["decoded"] == 15
    assert frames.ticks == tuple(range(0, 600, 40))
    assert brightness(frames) == pytest.approx([40 + tick * 2.5 // 10 for tick in frames.ticks], abs=3)
    assert (frames.end, frames.partial) == (60.0, "")


def test_auto_leaves_frames_out_only_where_few_are_wanted(
    long_video: Path, tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    assert read_frames(str(long_video), spec("auto", 10)).facts["sparse"] is False
    few = read_frames(str(long_video), spec("auto", 0.3))
    assert (few.facts["sparse"], few.facts["mode"], few.facts["decoded"]) == (True, "keyframes", 18)
    exact = read_frames(str(long_video), spec("auto", 0.1))
    assert (exact.facts["mode"], exact.ticks) == ("seek", (0, 100, 200, 300, 400, 500))
    short = write_video(tmp_path / "short.mp4", 50, lambda n: (n, n, n))
    assert read_frames(str(short), spec("auto", 0.5)).facts["sparse"] is False


def test_a_container_that_claims_more_time_is_not_believed(long_video: Path, tmp_path: Path) -> None:
    """Truncated with its index in front: the claim of 60 s would spread 24 frames over what is not there."""
    import av

    path = tmp_path / "front.mp4"
    with av.open(str(long_video)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames = read_frames(str(path), DecodeSpec(fps=10, max_frames=24, view_pixels=25600))
    assert frames.facts["seconds"] == pytest.approx(60)
    assert frames.facts["seconds_found"] < 50
    assert "expected frames" in frames.partial or "packets failed" in frames.partial
    assert frames.share == pytest.approx(frames.facts["decoded"] / 1500)
    assert len(frames.jpegs) >= 20
