"""Settings of the stages of text, questions and conversations, as their jobs carry them."""

from __future__ import annotations

from typing import Literal

from pipelines.core.identity import Identity, Runtime, Source
from pipelines.shards.settings import SandboxSettings, ShardSettings


class TextShards(ShardSettings):
    """One sample a line; ``prompt`` is the user turn before every text, ``max_bytes`` the longest text kept."""

    source: Source[str | None] = None
    prompt: Identity[str] = "Continue."
    max_bytes: Identity[int] = 65_536
    files_per_unit: Identity[int] = 1


class QuestionShards(SandboxSettings):
    """``families`` keeps the items about these families of the sample corpus (items of a user's ``source`` are all
    kept), ``limit`` the first so many items of each split; pages are drawn at ``dpi``, at most ``max_pixels``."""

    source: Source[str | None] = None
    families: Identity[tuple[str, ...]] = ("card",)
    limit: Identity[int | None] = None
    modes: Identity[tuple[Literal["short", "long"], ...]] = ("short", "long")
    dpi: Identity[int] = 72
    max_pixels: Identity[int] = 1344 * 1344
    files_per_unit: Identity[int] = 8
    deadline_s: Runtime[float] = 30.0


class TableShards(SandboxSettings):
    """Every ``*.jsonl``, ``*.json`` (one list) and ``*.parquet`` of the folder is a table, in the forms that
    ``pipelines.text.chats`` reads. ``max_bytes`` and ``max_media``: the most text and the most pictures and videos of a
    row that is kept. Pictures are shrunk to ``max_pixels``; videos give up to ``max_frames`` frames at ``fps`` of about
    ``view_pixels``."""

    source: Source[str | None] = None
    max_bytes: Identity[int] = 262_144
    max_media: Identity[int] = 32
    max_pixels: Identity[int] = 1344 * 1344
    most_source_pixels: Identity[int] = 100_000_000
    jpeg_quality: Identity[int] = 95
    fps: Identity[float] = 2.0
    max_frames: Identity[int] = 180
    view_pixels: Identity[int] = 448 * 448
    rows_per_unit: Identity[int] = 500
    deadline_s: Runtime[float] = 120.0


class ConversationShards(TableShards):
    """Conversations for fine-tuning; a thought of the last answer makes the sample ``long``, else it is ``short``."""


class InterleavedShards(TableShards):
    """Documents of text and pictures for pretraining."""
