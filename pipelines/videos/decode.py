"""Decode one video file with PyAV into resized JPEG frames. Runs inside ``pipelines.core.sandbox``: FFmpeg parses
hostile bytes in C, and only a killed process ends a hang.

One thread (frame threading costs more CPU a frame), packet by packet, so that a broken packet loses only itself:
what decoded is kept, and what was expected is noted beside it.
"""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from pipelines.core.sandbox import SandboxError
from pipelines.shards.sample import encode_jpeg
from pipelines.videos.sampling import Keeper, rate_for

if TYPE_CHECKING:
    from PIL import Image

MAX_ERRORS = 200
"""Broken packets after which the rest of a file is given up."""
SPARSE_FRAMES, SPARSE_STRIDE = 1000, 8
"""Long videos of which less than one frame in eight is wanted are decoded without their non-reference frames: a
fifth of the time on 1080p H.264 (measured), and the kept frame comes at most a few source frames later; its tick
says when."""


@dataclass(frozen=True)
class DecodeSpec:
    """How to decode: ``fps`` (at most 10) and ``max_frames`` kept, ``view_pixels`` the area of a frame in pixels (sides
    are multiples of ``patch``), ``max_decoded`` frames looked at, ``max_pixels`` of a source frame."""

    fps: float
    max_frames: int
    view_pixels: int
    patch: int = 14
    quality: int = 92
    max_decoded: int = 200_000
    max_pixels: int = 8192 * 8192


@dataclass(frozen=True)
class Frames:
    """What came out of a file: JPEG bytes and ticks (0.1 s) of the frames kept, their size in pixels, and ``facts``
    (container, codec, expected and decoded frames, duration, rotation, errors). ``partial`` means the file was damaged
    or a limit cut it."""

    jpegs: tuple[bytes, ...]
    ticks: tuple[int, ...]
    width: int
    height: int
    partial: str
    facts: dict[str, Any]


def view_size(width: float, height: float, view_pixels: int, patch: int) -> tuple[int, int]:
    """(width, height) in pixels, multiples of ``patch``, area about ``view_pixels``; pictures are never enlarged.

    The rule of the released slicing for one view (paper 2.4). 960x540 at 160*160, patch 14 -> 210x126."""
    if width * height > view_pixels:
        ratio = width / height
        height = int(math.sqrt(view_pixels) / math.sqrt(ratio))
        width = int(height * ratio)
    return max(patch, round(width / patch) * patch), max(patch, round(height / patch) * patch)


def read_frames(path: str, spec: DecodeSpec) -> Frames:
    """Frames of the first video stream.

    Raises SandboxError with category ``parse`` (no video container), ``empty`` (no video stream, or no frame and no
    error), ``decode`` (no frame could be decoded), ``policy`` (frames over ``max_pixels``), ``source_unavailable``."""
    import av

    av.logging.set_level(av.logging.PANIC)
    try:
        container = av.open(path, metadata_errors="replace")
    except FileNotFoundError as error:
        raise SandboxError("source_unavailable", str(error)) from error
    except (av.FFmpegError, ValueError) as error:
        raise SandboxError("parse", f"not a readable video: {error}") from error
    with container:
        if not container.streams.video:
            raise SandboxError("empty", "the file has no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise SandboxError("decode", "no decoder for the video stream")
        stream.codec_context.thread_count = 1
        if stream.width * stream.height > spec.max_pixels:
            raise SandboxError("policy", f"frames of {stream.width}x{stream.height} pixels are over {spec.max_pixels}")
        found = _read_stream(container, stream, spec)
    gc.collect()  # PyAV keeps format cycles alive until collected
    return found


def _read_stream(container: Any, stream: Any, spec: DecodeSpec) -> Frames:
    duration = _duration(container, stream)
    keeper: Keeper[tuple[bytes, int, int]] = Keeper(spec.fps, spec.max_frames, duration)
    step = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
    shaper = _Shaper(spec, Fraction(stream.sample_aspect_ratio or 1) or Fraction(1))
    sparse = _is_sparse(duration, step, rate_for(spec.fps, spec.max_frames, duration))
    if sparse:
        stream.codec_context.skip_frame = "NONREF"
    decoded, partial = 0, ""
    first = last = Fraction(0)
    errors: list[str] = []
    for packet_frames in _packets(container, stream, errors):
        for frame in packet_frames:
            base = frame.time_base or stream.time_base
            seconds = frame.pts * base if frame.pts is not None and base else last + step
            first = first if decoded else seconds
            last = max(last, seconds) if decoded else seconds
            decoded += 1
            if keeper.wants(seconds):
                keeper.keep(shaper.jpeg(frame))
        if decoded >= spec.max_decoded:
            partial = f"stopped after {decoded} frames, the limit"
            break
    expected = int(stream.frames)  # 0 where the container makes no promise; never used to sample
    if errors:
        partial = partial or f"{len(errors)} packets failed, first: {errors[0]}"
    if decoded == 0:
        raise SandboxError("decode" if errors else "empty", partial or "no frame in the video stream")
    partial = partial or _shortfall(0 if sparse else expected, decoded, duration, last - first + step)
    kept = keeper.kept()
    facts = {
        "container": container.format.name,
        "codec": stream.codec_context.name,
        "expected": expected,
        "decoded": decoded,
        "errors": len(errors),
        "sparse": sparse,
        "seconds": round(float(duration), 3) if duration is not None else None,
        "rotation": shaper.rotation,
        "source_width": stream.width,
        "source_height": stream.height,
    }
    _, width, height = kept[0][0]
    return Frames(tuple(item[0] for item, _ in kept), tuple(tick for _, tick in kept), width, height, partial, facts)


def _packets(container: Any, stream: Any, errors: list[str]) -> Any:
    """Lists of frames, a packet at a time; broken packets go to ``errors`` and the rest goes on."""
    import av

    packets = iter(container.demux(stream))
    while len(errors) < MAX_ERRORS:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.FFmpegError, ValueError) as error:
            errors.append(_one_line(error))
            return
        try:
            yield packet.decode()
        except (av.FFmpegError, ValueError) as error:
            errors.append(_one_line(error))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _duration(container: Any, stream: Any) -> Fraction | None:
    """Seconds the container claims, None if it claims nothing."""
    if stream.duration and stream.time_base:
        return Fraction(stream.duration) * stream.time_base
    return Fraction(container.duration, 1_000_000) if container.duration else None


def _is_sparse(duration: Fraction | None, step: Fraction, rate: Fraction) -> bool:
    """Whether the stride makes decoding every frame wasteful. ``step`` is seconds a source frame."""
    return duration is not None and duration / step >= SPARSE_FRAMES and 1 / rate >= SPARSE_STRIDE * step


def _shortfall(expected: int, decoded: int, duration: Fraction | None, covered: Fraction) -> str:
    """Why the file looks cut, "" if it does not. A count stands in some containers only; the time covered (seconds)
    is compared where there is none, because average rates of variable-rate files promise nothing."""
    if expected and decoded < 0.9 * expected:
        return f"{decoded} of {expected} expected frames were there"
    if not expected and duration is not None and covered < 0.9 * duration and duration - covered > 1:
        return f"frames end after {float(covered):.1f} of {float(duration):.1f} s"
    return ""


class _Shaper:
    """Resize, turn and encode frames. Anamorphic pixels are made square; rotation metadata is applied."""

    def __init__(self, spec: DecodeSpec, pixel_ratio: Fraction) -> None:
        from av.video.reformatter import VideoReformatter

        self.spec, self.pixel_ratio, self.rotation = spec, pixel_ratio, 0
        self._reformatter = VideoReformatter()  # one for all frames: each holds a scaler of its own

    def jpeg(self, frame: Any) -> tuple[bytes, int, int]:
        """(JPEG bytes, width, height in pixels)."""
        self.rotation = round((frame.rotation or 0) / 90) * 90 % 360
        width, height = float(frame.width * self.pixel_ratio), float(frame.height)
        width, height = view_size(width, height, self.spec.view_pixels, self.spec.patch)
        scaled = self._reformatter.reformat(frame, width, height, format="rgb24", interpolation="AREA", threads=1)
        image: Image.Image = scaled.to_image()
        if self.rotation:
            image = image.rotate(self.rotation, expand=True)
        return encode_jpeg(image, self.spec.quality), image.width, image.height
