"""Settings of the videos stage, as its jobs carry them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field

from pipelines.core.identity import Identity, Misfit, Runtime, Source
from pipelines.shards.settings import SandboxSettings


class VideoShards(SandboxSettings):
    """Frames are sampled by presentation time at ``fps`` (at most 10), at most ``max_frames`` a clip, resized to an
    area of about ``view_pixels`` with sides that are multiples of ``patch`` pixels.

    ``decode``: which source frames are decoded (``pipelines.media.modes``); ``auto`` leaves some out only where few
    are wanted, and the row says so. ``split_by``: one clip a file (``none``), clips of ``clip_seconds`` (``length``),
    or cut where the picture changes by more than ``scene_threshold`` (0-1) and at ``clip_seconds`` at the latest
    (``scenes``); clips below ``min_clip_seconds`` are filtered. ``drop_similar``: drop frames that differ from the kept
    one before by at most so many bits of a 64-bit perceptual hash. ``keep_from``: a damaged clip is kept when at least
    this share of its file decoded. ``store``: JPEG frames, or an MPEG-4 ``clip`` with a keyframe every ``clip_gop``
    frames at quantiser ``clip_scale`` (1 best, 31 smallest)."""

    source: Source[str | None] = None
    fps: Identity[Annotated[float, Field(gt=0, le=10)]] = 5.0
    max_frames: Identity[Annotated[int, Field(ge=1, le=1080)]] = 1080
    view_pixels: Identity[int] = 448 * 448
    patch: Identity[int] = 14
    jpeg_quality: Identity[int] = 92
    jpeg_encoder: Identity[Literal["pillow", "simplejpeg"]] = "pillow"
    max_decoded: Identity[int] = 200_000
    decode: Identity[Literal["auto", "all", "nonref", "keyframes", "seek"]] = "auto"
    split_by: Identity[Literal["none", "length", "scenes"]] = "none"
    clip_seconds: Identity[Annotated[float, Field(gt=0)]] = 30.0
    min_clip_seconds: Identity[Annotated[float, Field(ge=0)]] = 1.0
    scene_threshold: Identity[Annotated[float, Field(gt=0, le=1)]] = 0.35
    drop_similar: Identity[Annotated[int, Field(ge=0, le=64)] | None] = None
    keep_from: Identity[Annotated[float, Field(ge=0, le=1)]] = 0.0
    store: Identity[Literal["frames", "clip"]] = "frames"
    clip_gop: Identity[Annotated[int, Field(ge=1)]] = 8
    clip_scale: Identity[Annotated[int, Field(ge=1, le=31)]] = 3
    prompt: Identity[str] = "Describe the video."
    files_per_unit: Identity[int] = 4
    deadline_s: Runtime[float] = 300.0

    def misfits(self, inputs: Mapping[str, tuple[str, ...]]) -> Iterable[Misfit]:
        """Scenes are seen between neighbouring frames only."""
        if self.split_by == "scenes" and self.decode in ("keyframes", "seek"):
            yield Misfit(
                ("decode",),
                f"decode {self.decode!r} does not see where scenes change",
                "use auto, all or nonref, or split_by: length",
            )
