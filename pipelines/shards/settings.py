"""What the stages that write shards are told alike: where files are, how they are split, how much may be bad, and what a
worker holds and may take. Each room adds its own settings; jobs carry them as they are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipelines.core.identity import Identity, Runtime, Source, TaskConfig


class ShardSettings(TaskConfig):
    """``max_quarantine_share``: the stage fails when more (0-1) of its samples were quarantined. A field ``source`` that is
    None reads the sample corpus."""

    split_seed: Identity[int] = 0
    max_quarantine_share: Runtime[float] = 0.5


class SandboxSettings(ShardSettings):
    """Files are opened in children that are killed after ``deadline_s`` and above ``memory_bytes``."""

    deadline_s: Runtime[float] = Field(60.0, gt=0)
    memory_bytes: Runtime[int] = 4 << 30


class AdoptShards(ShardSettings):
    """Captioned images, texts, or samples of our own form. ``split`` None draws each sample's split from its content;
    ``caption_prompt`` and ``text_prompt`` are the user turn before what has none; sizes in bytes."""

    source: Source[str]
    caption_prompt: Identity[str] = "Describe."
    text_prompt: Identity[str] = "Continue."
    split: Identity[Literal["train", "val", "test"] | None] = None
    most_member_bytes: Identity[int] = 64 << 20
    most_sample_bytes: Identity[int] = 256 << 20
    most_source_pixels: Identity[int] = 100_000_000
