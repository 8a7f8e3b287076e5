"""Settings of the stages of pictures, as their jobs carry them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.core.identity import Identity, Runtime, Source
from pipelines.shards.settings import SandboxSettings


class CaptionShards(SandboxSettings):
    """Pictures are kept upright, shrunk to at most ``max_pixels``. Filtered are a side below ``min_side`` pixels, a longer
    side of more than ``max_aspect`` shorter ones, copies (``dedup`` ``exact`` goes by bytes, ``near`` also by a
    perceptual hash over all files, at the price of decoding them twice), and a score below ``min_score``: ``score`` names a
    function ``package.module:function`` of (PIL picture, caption) that returns a number; rename it when it changes, its
    name is what enters the key."""

    source: Source[str | None] = None
    prompt: Identity[str] = "Describe."
    min_side: Identity[int] = 16
    max_pixels: Identity[int] = 1344 * 1344
    most_source_pixels: Identity[int] = 100_000_000
    jpeg_quality: Identity[int] = 95
    max_aspect: Identity[Annotated[float, Field(ge=1)] | None] = None
    dedup: Identity[Literal["exact", "near"]] = "exact"
    score: Identity[str | None] = None
    min_score: Identity[float] = 0.0
    files_per_unit: Identity[int] = 64


class SyntheticOcr(SandboxSettings):
    """``count`` drawings of up to ``most_lines`` lines, each side ``min_side`` to ``max_side`` pixels; a share
    ``photo_share`` of them on pictures of the folder ``photos``, the others on textures. Words and font families of test
    drawings are held out. Every HTML file of the folder ``pages`` is rendered at ``page_width`` x ``page_height`` pixels
    by the Chromium at ``chromium`` (extra ``html``); its version and those of the machine's fonts decide the bytes, only
    the former is part of the key."""

    photos: Source[str | None] = None
    pages: Source[str | None] = None
    count: Identity[Annotated[int, Field(ge=0)]] = 1000
    most_lines: Identity[Annotated[int, Field(ge=1)]] = 8
    min_side: Identity[Annotated[int, Field(ge=64)]] = 256
    max_side: Identity[Annotated[int, Field(ge=64)]] = 896
    photo_share: Identity[Annotated[float, Field(ge=0, le=1)]] = 0.6
    page_width: Identity[int] = 896
    page_height: Identity[int] = 672
    prompt: Identity[str] = "Read the text in the picture."
    jpeg_quality: Identity[int] = 92
    seed: Identity[int] = 0
    per_unit: Identity[Annotated[int, Field(ge=1)]] = 250
    chromium: Runtime[str] = "/usr/bin/chromium"
