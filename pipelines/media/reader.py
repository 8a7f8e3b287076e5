"""The frames of one open file with their times, in any of the modes of ``modes``; broken packets cost themselves.

One thread (frame threading costs more CPU a frame), packet by packet: what decoded is handed on, what failed is noted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from pipelines.core.sandbox import SandboxError
from pipelines.media.modes import Mode, Timeline, slots

MAX_ERRORS = 200
"""Broken packets after which the rest of a file is given up."""


def open_video(path: str, max_pixels: int) -> tuple[Any, Any]:
    """(container, first video stream). Raises SandboxError as ``decode.read_clips``."""
    import av

    av.logging.set_level(av.logging.PANIC)
    try:
        container = av.open(path, metadata_errors="replace")
    except FileNotFoundError as error:
        raise SandboxError("source_unavailable", str(error)) from error
    except (av.FFmpegError, ValueError) as error:
        raise SandboxError("parse", f"not a readable video: {error}") from error
    try:
        if not container.streams.video:
            raise SandboxError("empty", "the file has no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise SandboxError("decode", "no decoder for the video stream")
        stream.codec_context.thread_count = 1
        if stream.width * stream.height > max_pixels:
            raise SandboxError("policy", f"frames of {stream.width}x{stream.height} pixels are over {max_pixels}")
    except SandboxError:
        container.close()
        raise
    return container, stream


def read_timeline(path: str, max_pixels: int) -> Timeline | None:
    """What the packets say, without decoding (about 100,000 packets a second); None when they have no times."""
    import av

    container, stream = open_video(path, max_pixels)
    times: list[Fraction] = []
    keys: list[Fraction] = []
    with container:
        try:
            for packet in container.demux(stream):
                if packet.pts is None or packet.time_base is None:
                    continue
                times.append(packet.pts * packet.time_base)
                if packet.is_keyframe:
                    keys.append(times[-1])
        except (av.FFmpegError, ValueError):
            pass  # decoding will meet it again and note it
    return Timeline(min(times), max(times), len(times), tuple(sorted(keys))) if times else None


class Reader:
    """Frames of one stream. ``decoded`` counts them, ``errors`` has a line for each broken packet, ``step`` is the
    length of a source frame in seconds."""

    def __init__(self, container: Any, stream: Any) -> None:
        self.container, self.stream = container, stream
        self.step = 1 / Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.decoded = 0
        self.errors: list[str] = []
        self._last: Fraction | None = None

    def frames(self, mode: Mode, line: Timeline | None, rate: Fraction) -> Iterator[tuple[Fraction, Any]]:
        """(presentation time in seconds, frame). ``line`` is needed to ``seek``, ``rate`` are wanted frames a second."""
        if mode == "seek" and line is not None and line.keys:
            yield from self._sought(line, rate)
            return
        if mode == "nonref":
            self.stream.codec_context.skip_frame = "NONREF"
        yield from self._onward(rate if mode == "keyframes" else None)

    def _sought(self, line: Timeline, rate: Fraction) -> Iterator[tuple[Fraction, Any]]:
        """For each slot the first frame at or after its beginning: what decoding everything would keep."""
        import av

        onward = self._onward()
        for at in slots(line, rate):
            if self._last is not None and self._last >= at:
                continue  # the frame kept for the slot before reached into this one
            key = line.keys[max(0, bisect_right(line.keys, at) - 1)]
            if self._last is None or key > self._last:
                try:
                    self.container.seek(int(key / self.stream.time_base), stream=self.stream)
                except (av.FFmpegError, OSError) as error:
                    self.errors.append(_one_line(error))  # go on from here: slower, the same frames
                else:
                    onward = self._onward()
            for seconds, frame in onward:
                if seconds >= at:
                    yield seconds, frame
                    break

    def _onward(self, key_rate: Fraction | None = None) -> Iterator[tuple[Fraction, Any]]:
        """Frames from here to the end; with ``key_rate`` only the first keyframe of each slot of 1/key_rate seconds."""
        for packet_frames in self._packets(key_rate):
            for frame in packet_frames:
                base = frame.time_base or self.stream.time_base
                after = self._last + self.step if self._last is not None else self.step
                seconds = frame.pts * base if frame.pts is not None and base else after
                self._last = seconds if self._last is None else max(self._last, seconds)
                self.decoded += 1
                yield seconds, frame

    def _packets(self, key_rate: Fraction | None) -> Iterator[Any]:
        """Lists of frames, a packet at a time; broken packets go to ``errors`` and the rest goes on."""
        import av

        start: Fraction | None = None
        slot = -1
        packets = iter(self.container.demux(self.stream))
        while len(self.errors) < MAX_ERRORS:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, ValueError) as error:
                self.errors.append(_one_line(error))
                return
            if key_rate is not None and packet.pts is not None:
                at = packet.pts * packet.time_base
                start = at if start is None and packet.is_keyframe else start
                if not packet.is_keyframe or start is None or ((at - start) * key_rate).__floor__() <= slot:
                    continue
                slot = ((at - start) * key_rate).__floor__()
            try:
                yield packet.decode()
            except (av.FFmpegError, ValueError) as error:
                self.errors.append(_one_line(error))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
