"""From a decoded frame to the picture that is kept: size, pixel shape, rotation, and clips encoded anew."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

SMALL = (64, 36)
"""Width and height in pixels of the copy on which scene changes are seen."""
TICK = Fraction(1, 10)


def view_size(width: float, height: float, view_pixels: int, patch: int) -> tuple[int, int]:
    """(width, height) in pixels, multiples of ``patch``, area about ``view_pixels``; pictures are never enlarged.

    The rule of the released slicing for one view (paper 2.4). 960x540 at 160*160, patch 14 -> 210x126."""
    if width * height > view_pixels:
        ratio = width / height
        height = int(math.sqrt(view_pixels) / math.sqrt(ratio))
        width = int(height * ratio)
    return max(patch, round(width / patch) * patch), max(patch, round(height / patch) * patch)


class Shaper:
    """Resize and turn frames. Anamorphic pixels are made square; rotation metadata is applied."""

    def __init__(self, view_pixels: int, patch: int, pixel_ratio: Fraction) -> None:
        from av.video.reformatter import VideoReformatter

        self.view_pixels, self.patch, self.pixel_ratio, self.rotation = view_pixels, patch, pixel_ratio, 0
        self._reformatter = VideoReformatter()  # one for all frames: each holds a scaler of its own
        self._small = VideoReformatter()

    def picture(self, frame: Any) -> Image.Image:
        """The upright RGB picture at view size."""
        self.rotation = round((frame.rotation or 0) / 90) * 90 % 360
        width, height = float(frame.width * self.pixel_ratio), float(frame.height)
        width, height = view_size(width, height, self.view_pixels, self.patch)
        scaled = self._reformatter.reformat(frame, width, height, format="rgb24", interpolation="AREA", threads=1)
        image: Image.Image = scaled.to_image()
        return image.rotate(self.rotation, expand=True) if self.rotation else image

    def small(self, frame: Any) -> np.ndarray:
        """A small RGB copy (36, 64, 3) uint8."""
        return self._small.reformat(
            frame, *SMALL, format="rgb24", interpolation="FAST_BILINEAR", threads=1
        ).to_ndarray()


def encode_clip(pictures: Sequence[Image.Image], ticks: Sequence[int], gop: int, scale: int) -> bytes:
    """MPEG-4 in MP4: one frame a picture, its time its tick, a keyframe at least every ``gop`` frames, no B-frames;
    ``scale`` is the quantiser, 1 (best) to 31.

    FFmpeg's own encoder with one thread and bit-exact flags gives the same bytes twice; x264 did not always (docs/log.md).
    Sides must be even (patches of 14 pixels are)."""
    import av
    from av.codec.context import Flags

    buffer = io.BytesIO()
    options = {"g": str(gop), "bf": "0", "qmin": str(scale), "qmax": str(scale), "threads": "1"}
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("mpeg4", rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = pictures[0].width, pictures[0].height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        stream.codec_context.time_base = TICK
        for picture, tick in zip(pictures, ticks, strict=True):
            frame = av.VideoFrame.from_image(picture).reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = tick, TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()
