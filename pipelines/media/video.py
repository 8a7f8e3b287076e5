"""One video file to clips of kept frames. Runs inside ``pipelines.core.sandbox``: FFmpeg parses hostile bytes in C, and
only a killed process ends a hang.

``reader`` hands over frames with their times, ``sampling`` says which are kept, ``split`` where a clip ends, ``shape``
makes pictures of them. A damaged file gives what decoded, with what was expected noted beside it.
"""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from pipelines.core.sandbox import SandboxError
from pipelines.media.likeness import likeness
from pipelines.media.modes import Asked, Mode, Timeline, choose_mode, is_sparse
from pipelines.media.reader import Reader, open_video, read_timeline
from pipelines.media.sampling import Keeper, asked_rate, rate_for
from pipelines.media.shape import Shaper, encode_clip
from pipelines.media.split import By, Splitter
from pipelines.shards.sample import JpegEncoder, encode_jpeg

if TYPE_CHECKING:
    from pipelines.core.identity import Record

Store = Literal["frames", "clip"]
HELD_QUALITY = 98
"""JPEG quality of pictures that wait in memory for the encoder of ``store: clip``."""
Kept = tuple[bytes, int, int]


@dataclass(frozen=True)
class DecodeSpec:
    """How to decode: ``fps`` (at most 10) and ``max_frames`` kept of a clip, ``view_pixels`` the area of a frame in
    pixels (sides are multiples of ``patch``), ``max_decoded`` frames looked at, ``max_pixels`` of a source frame.

    ``decode`` is one of ``modes`` or ``auto``; ``split_by``, ``clip_seconds``, ``min_clip_seconds`` and ``scene_threshold``
    are those of ``split.Splitter``; a frame whose ``likeness`` differs from the kept one before by at most
    ``drop_similar`` bits of 64 is dropped; ``store`` keeps JPEG frames, or a clip with a keyframe every ``clip_gop``
    frames at quantiser ``clip_scale``."""

    fps: float
    max_frames: int
    view_pixels: int
    patch: int = 14
    jpeg_quality: int = 92
    max_decoded: int = 200_000
    max_pixels: int = 8192 * 8192
    decode: Asked = "auto"
    split_by: By = "none"
    clip_seconds: float = 30.0
    min_clip_seconds: float = 1.0
    scene_threshold: float = 0.35
    drop_similar: int | None = None
    store: Store = "frames"
    jpeg_encoder: JpegEncoder = "pillow"
    clip_gop: int = 8
    clip_scale: int = 3

    @classmethod
    def of(cls, settings: Record) -> DecodeSpec:
        """What a stage's settings say of it, by the same names."""
        names = [item.name for item in fields(cls) if item.name in type(settings).model_fields]
        return cls(**{name: getattr(settings, name) for name in names})


@dataclass(frozen=True)
class Frames:
    """One clip: JPEG bytes (or ``video``, an MP4) and ticks (0.1 s since its first frame) of the frames kept, their
    size in pixels, and ``facts`` (container, codec, expected and decoded frames, duration, rotation, errors).
    ``start`` and ``end`` in seconds of the file. ``partial`` says why frames are missing, "" if none are known to be;
    ``share`` is then the part (0-1) of the file that decoded."""

    jpegs: tuple[bytes, ...]
    ticks: tuple[int, ...]
    width: int
    height: int
    partial: str
    facts: dict[str, Any]
    video: bytes = b""
    start: float = 0.0
    end: float = 0.0
    share: float = 1.0


def read_frames(path: str, spec: DecodeSpec) -> Frames:
    """The first clip: the whole file unless ``spec`` splits it. Raises as ``read_clips``."""
    return next(read_clips(path, spec))


def read_clips(path: str, spec: DecodeSpec) -> Iterator[Frames]:
    """The clips of the first video stream in order, each as soon as it is whole.

    Raises SandboxError with category ``parse`` (no video container), ``empty`` (no video stream, or no frame and no
    error), ``decode`` (no frame could be decoded), ``policy`` (frames over ``max_pixels``), ``source_unavailable``."""
    container, stream = open_video(path, spec.max_pixels)
    with container:
        yield from _File(path, container, stream, spec).clips()
    gc.collect()  # PyAV keeps format cycles alive until collected


class _File:
    """One open file on its way through."""

    def __init__(self, path: str, container: Any, stream: Any, spec: DecodeSpec) -> None:
        self.container, self.stream, self.spec = container, stream, spec
        self.reader = Reader(container, stream)
        self.shaper = Shaper(spec.view_pixels, spec.patch, Fraction(stream.sample_aspect_ratio or 1) or Fraction(1))
        self.claimed = _duration(container, stream)
        self.found, self.mode, self.line = self._plan(path)
        length = Fraction(spec.clip_seconds) if spec.split_by != "none" else None
        self.span = min((s for s in (self.found, length) if s is not None), default=None)
        self.rate = rate_for(spec.fps, spec.max_frames, self.span)

    def _plan(self, path: str) -> tuple[Fraction | None, Mode, Timeline | None]:
        """(duration in seconds, mode, timeline where one was read). Packets are looked at only where the claim of the
        container decides something: a lie would thin the frames out, or choose the wrong mode."""
        spec, duration = self.spec, self.claimed
        asked = asked_rate(spec.fps)
        rate = rate_for(spec.fps, spec.max_frames, duration)
        sparse = is_sparse(duration, self.reader.step, rate)
        whole = spec.split_by == "none"
        jumps = spec.decode in ("keyframes", "seek")
        if not (whole and rate < asked) and not (spec.decode == "auto" and sparse) and not jumps:
            given: Mode = "all" if spec.decode == "auto" else spec.decode
            return duration, given, None
        line = read_timeline(path, spec.max_pixels)
        if line is None:
            return duration, "nonref" if sparse or spec.decode == "keyframes" else "all", None
        covered = line.end - line.start + self.reader.step
        if duration is None or duration - covered > max(Fraction(1), duration / 10):
            duration = covered
        if spec.decode != "auto":
            return duration, spec.decode, line
        rate = rate_for(spec.fps, spec.max_frames, duration if whole else None)
        sparse = is_sparse(duration, self.reader.step, rate) and spec.split_by != "scenes"
        return duration, choose_mode(line, self.reader.step, rate) if sparse else "all", line

    def clips(self) -> Iterator[Frames]:
        spec, reader = self.spec, self.reader
        seconds, shortest = Fraction(spec.clip_seconds), Fraction(spec.min_clip_seconds)
        splitter = Splitter(spec.split_by, seconds, shortest, spec.scene_threshold)
        clip: _Clip | None = None
        first = last = Fraction(0)
        cut = ""
        for at, frame in reader.frames(self.mode, self.line, self.rate):
            first, last = (min(first, at), max(last, at)) if reader.decoded > 1 and clip else (at, at)
            if splitter.begins(at, self.shaper.small(frame) if spec.split_by == "scenes" else None):
                if clip is not None:
                    yield clip.close(self._facts(clip), at)
                clip = _Clip(self, at)
            assert clip is not None
            clip.see(at, frame)
            if reader.decoded >= spec.max_decoded:
                cut = f"stopped after {reader.decoded} frames, the limit"
                break
        if reader.errors:
            cut = cut or f"{len(reader.errors)} packets failed, first: {reader.errors[0]}"
        if clip is None:
            raise SandboxError("decode" if reader.errors else "empty", cut or "no frame in the video stream")
        expected = int(self.stream.frames) if self.mode == "all" else 0
        if self.line is not None and self.mode in ("keyframes", "seek"):  # the end is known, though not decoded
            last = max(last, self.line.end)
        covered = last - first + reader.step
        cut = cut or _shortfall(expected, reader.decoded, self.claimed, covered)
        yield clip.close(self._facts(clip, last=True), last + reader.step, cut, self._share(expected, covered))

    def _share(self, expected: int, covered: Fraction) -> float:
        """How much of what the file promises was there: by frames where it counts them, else by time."""
        if expected:
            return min(1.0, self.reader.decoded / expected)
        return min(1.0, float(covered / self.claimed)) if self.claimed else 1.0

    def _facts(self, clip: _Clip, last: bool = False) -> dict[str, Any]:
        split = self.spec.split_by != "none"
        facts: dict[str, Any] = {
            "container": self.container.format.name,
            "codec": self.stream.codec_context.name,
            "expected": int(self.stream.frames),  # 0 where the container makes no promise; never used to sample
            "decoded": clip.seen if split else self.reader.decoded,
            "errors": len(self.reader.errors) - clip.errors_before,
            "sparse": self.mode != "all",
            "seconds": round(float(self.claimed), 3) if self.claimed is not None else None,
            "rotation": self.shaper.rotation,
            "source_width": self.stream.width,
            "source_height": self.stream.height,
        }
        if self.mode != "all":
            facts["mode"] = self.mode
        if self.found is not None and self.found != self.claimed:
            facts["seconds_found"] = round(float(self.found), 3)
        if self.spec.drop_similar is not None:
            facts["similar_dropped"] = clip.dropped
        if split and last:
            facts["file_decoded"] = self.reader.decoded
        return facts


class _Clip:
    """The clip that is being filled. Times count from its first frame."""

    def __init__(self, file: _File, start: Fraction) -> None:
        self.file, self.start = file, start
        spec = file.spec
        self.keeper: Keeper[Kept] = Keeper(spec.fps, spec.max_frames, file.span)
        self.seen = self.dropped = 0
        self.errors_before = len(file.reader.errors)
        self._before: int | None = None

    def see(self, at: Fraction, frame: Any) -> None:
        self.seen += 1
        if not self.keeper.wants(at):
            return
        spec = self.file.spec
        picture = self.file.shaper.picture(frame)
        if spec.drop_similar is not None:
            mark = likeness(picture)
            if self._before is not None and (mark ^ self._before).bit_count() <= spec.drop_similar:
                self.dropped += 1
                return
            self._before = mark
        quality = HELD_QUALITY if spec.store == "clip" else spec.jpeg_quality
        self.keeper.keep((encode_jpeg(picture, quality, encoder=spec.jpeg_encoder), picture.width, picture.height))

    def close(self, facts: dict[str, Any], end: Fraction, partial: str = "", share: float = 1.0) -> Frames:
        from PIL import Image

        kept = self.keeper.kept()
        (_, width, height), _ = kept[0]
        jpegs, ticks = tuple(item[0] for item, _ in kept), tuple(tick for _, tick in kept)
        video = b""
        spec = self.file.spec
        if spec.store == "clip":
            pictures = [Image.open(io.BytesIO(data)) for data in jpegs]
            video, jpegs = encode_clip(pictures, ticks, spec.clip_gop, spec.clip_scale), ()
        return Frames(jpegs, ticks, width, height, partial, facts, video, float(self.start), float(end), share)


def _duration(container: Any, stream: Any) -> Fraction | None:
    """Seconds the container claims, None if it claims nothing."""
    if stream.duration and stream.time_base:
        return Fraction(stream.duration) * stream.time_base
    return Fraction(container.duration, 1_000_000) if container.duration else None


def _shortfall(expected: int, decoded: int, duration: Fraction | None, covered: Fraction) -> str:
    """Why the file looks cut, "" if it does not. A count stands in some containers only; the time covered (seconds)
    is compared where there is none, because average rates of variable-rate files promise nothing."""
    if expected and decoded < 0.9 * expected:
        return f"{decoded} of {expected} expected frames were there"
    if not expected and duration is not None and covered < 0.9 * duration and duration - covered > 1:
        return f"frames end after {float(covered):.1f} of {float(duration):.1f} s"
    return ""
