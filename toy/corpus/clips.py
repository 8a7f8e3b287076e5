"""Clips: short videos made by code, in the codecs, containers and frame rates that people bring.

Each shows a word at a known time, two words one after the other, or a square that moves, so captions and answers are
true by construction. Encoders run with one thread, bit-exact flags and without a look at the clock: one machine gives the
same bytes twice (another build of an encoder may not). One clip has a variable rate, one is cut off on purpose.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipelines.core.seeds import generator
from toy.corpus import h264
from toy.corpus.files import Row, row
from toy.corpus.typeset import COLOURS, HEIGHT, WIDTH, drawn_word, paint, pick

PAPER = (244, 242, 236)
MILLISECOND = Fraction(1, 1000)
SQUARE = 36
H264 = "h264"  # by ``toy.corpus.h264``; any other codec is the name of an encoder of FFmpeg
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


@dataclass(frozen=True)
class Plan:
    """One clip: what it shows, its split and seconds; file suffix, codec (``H264`` or an
    encoder), pixel format, frames a second, encoder options; ``uneven`` drops frames irregularly."""

    name: str
    shows: Callable[[np.random.Generator, Plan], Scene]
    split: str
    seconds: float
    suffix: str
    codec: str
    pixels: str
    rate: int
    options: tuple[tuple[str, str], ...] = ()
    uneven: bool = False

    @property
    def file(self) -> str:
        return f"videos/{self.name}{self.suffix}"


@dataclass(frozen=True)
class Scene:
    """What a clip shows at each second, and the true statements about it."""

    draw: Callable[[float], np.ndarray]
    captions: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]


def write_clips(directory: Path, seed: int) -> list[Row]:
    """Write ``videos/clip-*`` under ``directory``, and beside each ``{stem}.json`` in the form the videos stage reads;
    family ``clip`` or ``bad``."""
    (directory / "videos").mkdir(parents=True, exist_ok=True)
    rows = []
    for plan in PLANS:
        rng = generator("clips", seed, plan.name)
        scene = plan.shows(rng, plan)
        path = directory / plan.file
        encode(path, plan, scene, rng)
        questions = [{"question": question, "answer": answer} for question, answer in scene.questions]
        sidecar = json.dumps({"captions": list(scene.captions), "questions": questions}, ensure_ascii=False, indent=1)
        path.with_suffix(".json").write_text(sidecar + "\n", encoding="utf-8")
        rows.append(row(plan.file, "clip", plan.split))
    whole = (directory / PLANS[0].file).read_bytes()
    (directory / "videos" / BAD).write_bytes(whole[: len(whole) * 6 // 10])
    return [*rows, row(f"videos/{BAD}", "bad", "train")]


def encode(path: Path, plan: Plan, scene: Scene, rng: np.random.Generator) -> None:
    """Write the scene as a clip, with presentation times in milliseconds where the rate is uneven."""
    unit = MILLISECOND if plan.uneven else Fraction(1, plan.rate)
    frames = _frames(plan, scene, unit, rng)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        if plan.codec == H264:
            _mux_h264(container, frames, plan.rate, unit)
            return
        made = cast("VideoStream", container.add_stream(plan.codec, rate=plan.rate, options=dict(plan.options)))
        made.width, made.height, made.pix_fmt = WIDTH, HEIGHT, plan.pixels
        made.codec_context.thread_count = 1
        made.codec_context.flags |= Flags.bitexact
        made.codec_context.time_base = unit
        for frame in frames:
            container.mux(made.encode(frame))
        container.mux(made.encode(None))


def _frames(plan: Plan, scene: Scene, unit: Fraction, rng: np.random.Generator) -> Iterator[VideoFrame]:
    """All pictures of a clip in its pixel format, their times in ``unit``."""
    for number in range(round(plan.seconds * plan.rate)):
        if plan.uneven and number and rng.random() < 0.35:
            continue
        seconds = Fraction(number, plan.rate)
        picture = av.VideoFrame.from_ndarray(scene.draw(float(seconds)), format="rgb24")
        frame = picture.reformat(format=plan.pixels, threads=1)
        frame.pts, frame.time_base = int(seconds / unit), unit
        yield frame


def _mux_h264(container: OutputContainer, frames: Iterable[VideoFrame], rate: int, unit: Fraction) -> None:
    """Our own stream is read back as raw H.264, which tells the container what it holds, and gets the frames' times."""
    shown = list(frames)
    planes = (frame.to_ndarray().astype(np.uint8, copy=False) for frame in shown)
    data = io.BytesIO(b"".join(h264.stream(planes, WIDTH, HEIGHT)))
    with av.open(data, "r", format=H264, options={"framerate": str(rate)}) as raw:
        made = container.add_stream_from_template(raw.streams.video[0])
        packets = (packet for packet in raw.demux(video=0) if packet.size)
        for packet, frame in zip(packets, shown, strict=True):
            packet.stream, packet.time_base = made, unit
            packet.pts = packet.dts = frame.pts
            packet.duration = int(Fraction(1, rate) / unit)
            container.mux(packet)


def _word_scene(rng: np.random.Generator, plan: Plan) -> Scene:
    word, colour, mask = drawn_word(rng, plan.split)
    shown = paint(mask, COLOURS[colour], PAPER)
    return Scene(
        _cut(paint(np.zeros_like(mask), PAPER, PAPER), shown, 0.25 * plan.seconds),
        (f"The word {word} appears.",),
        (("Which word appears?", word), ("Which colour is the word?", colour)),
    )


def _words_scene(rng: np.random.Generator, plan: Plan) -> Scene:
    (first, colour, mask), (second, other, second_mask) = (drawn_word(rng, plan.split) for _ in range(2))
    before, after = paint(mask, COLOURS[colour], PAPER), paint(second_mask, COLOURS[other], PAPER)
    return Scene(
        _cut(before, after, plan.seconds / 2),
        (f"First {first}, then {second}.",),
        (("Which word comes first?", first), ("Which word comes last?", second)),
    )


def _cut(before: np.ndarray, after: np.ndarray, at: float) -> Callable[[float], np.ndarray]:
    return lambda seconds: before if seconds < at else after


def _square_scene(rng: np.random.Generator, plan: Plan) -> Scene:
    colour = pick(rng, tuple(COLOURS))
    direction = tuple(DIRECTIONS)[PLANS.index(plan) // 2 % len(DIRECTIONS)]  # so that few clips show several
    along_x, along_y = DIRECTIONS[direction]
    middle = np.array([WIDTH - SQUARE, HEIGHT - SQUARE]) / 2

    def draw(seconds: float) -> np.ndarray:
        travel = (2 * seconds / plan.seconds - 1) * np.array([along_x, along_y])
        left, top = np.rint(middle + travel * (middle - 4)).astype(int)
        mask = np.zeros((HEIGHT, WIDTH), np.float32)
        mask[top : top + SQUARE, left : left + SQUARE] = 1
        return paint(mask, COLOURS[colour], PAPER)

    return Scene(
        draw,
        (f"A {colour} square moves {direction}.",),
        (("Which way does the square move?", direction), ("Which colour is the square?", colour)),
    )


# In real time libvpx's VP8 encoder does what the clock leaves time for.
_VPX = (("crf", "16"), ("b", "800k"), ("deadline", "good"), ("cpu-used", "5"))
# x265's assembly reads stack that nobody wrote (valgrind); its plain code does not, and gives the same bytes.
_X265 = (("preset", "fast"), ("x265-params", "log-level=none:info=0:pools=none:frame-threads=1:wpp=0:asm=0"))
PLANS = (
    Plan("clip-00-h264", _word_scene, "train", 3.0, ".mp4", H264, "yuv420p", 25),
    Plan("clip-01-mpeg4", _square_scene, "train", 2.0, ".avi", "mpeg4", "yuv420p", 30, (("b", "900k"),)),
    Plan("clip-02-vp9", _word_scene, "train", 2.5, ".webm", "libvpx-vp9", "yuv420p", 24, _VPX),
    Plan("clip-03-vp8", _square_scene, "train", 3.0, ".webm", "libvpx", "yuv420p", 15, _VPX),
    Plan("clip-04-mjpeg", _words_scene, "train", 4.0, ".mov", "mjpeg", "yuvj420p", 10, (("q", "4"),)),
    Plan("clip-05-ffv1", _square_scene, "train", 2.0, ".mkv", "ffv1", "yuv420p", 12),
    Plan("clip-06-uneven", _words_scene, "train", 4.0, ".mkv", H264, "yuv420p", 20, uneven=True),
    Plan("clip-07-slow", _word_scene, "train", 3.0, ".mov", H264, "yuv420p", 5),
    Plan("clip-08-mpeg2", _word_scene, "test", 2.5, ".mkv", "mpeg2video", "yuv420p", 25, (("b", "2M"),)),
    Plan("clip-09-h265", _square_scene, "test", 2.0, ".mp4", "libx265", "yuv420p", 20, _X265),
)
BAD = "clip-10-cut.mp4"
"""An H.264 file of which the last 40 % are missing, its index with them."""
