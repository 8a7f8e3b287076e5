"""Captions to samples: which text belongs to which picture, and one row for every picture of the plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError
from pipelines.core.sandbox import Sandbox, SandboxError
from pipelines.core.sandboxes import kept_sandbox
from pipelines.images.decode import Picture
from pipelines.shards.manifest import CATEGORIES, Row, Status
from pipelines.shards.plan import SourceItem, Unit
from pipelines.shards.sample import image_content, sample_json, text_content, text_size, turn
from pipelines.shards.unit import Item, write_unit

STAGE = "captions"
TARGET = "pipelines.images.decode:read_picture"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TABLE = "captions.jsonl"


@dataclass(frozen=True)
class CaptionJob:
    """A unit and all that decides its bytes. ``captions`` has a text, or "", for each source of the unit, in order."""

    unit: Unit
    captions: tuple[str, ...]
    prompt: str
    min_side: int
    max_pixels: int
    most_source_pixels: int
    quality: int
    directory: str
    deadline_s: float
    memory_bytes: int


def read_captions(path: Path, folder: str = "") -> dict[str, str]:
    """File name -> caption from rows ``{"file", "caption"}``; ``folder`` is put before names that lack it.

    Raises DataError for a line that is not such a row."""
    prefix = f"{folder}/" if folder else ""
    captions = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, caption = str(row["file"]), str(row["caption"]).strip()
        except (json.JSONDecodeError, TypeError, KeyError) as error:
            raise DataError(
                f"line {number} is not a caption row",
                where=str(path),
                why=f"{type(error).__name__}: {error}",
                do='rows look like {"file": "a.png", "caption": "A red circle."}',
            ) from error
        captions[name if name.startswith(prefix) else prefix + name] = caption
    return captions


def build_caption_unit(job: CaptionJob) -> dict[str, Any]:
    """Write one unit; the receipt of ``write_unit``. A bad picture costs its own row only."""
    sandbox = kept_sandbox(TARGET, job.deadline_s, job.memory_bytes)
    return write_unit(job.directory, job.unit.name, _items(job, sandbox), planned=len(job.unit.items))


def _items(job: CaptionJob, sandbox: Sandbox) -> Iterator[Item]:
    for source, caption in zip(job.unit.items, job.captions, strict=True):
        if source.copy_of:
            yield _row(source, "filtered", "duplicate", f"same bytes as {source.copy_of}"), None
            continue
        try:
            picture = sandbox.call(source.path, job.max_pixels, job.most_source_pixels, job.quality)
        except SandboxError as error:
            category = error.category if error.category in CATEGORIES else "parse"
            yield _row(source, "quarantined", category, source.told(error.message)), None
            continue
        if min(picture.source_width, picture.source_height) < job.min_side:
            reason = f"{picture.source_width}x{picture.source_height} pixels, a side is below {job.min_side}"
            yield _row(source, "filtered", "policy", reason), None
        elif not caption:
            yield _row(source, "filtered", "empty_text", "no caption"), None
        else:
            yield _sample(source, caption, job.prompt, picture)


def _sample(source: SourceItem, caption: str, prompt: str, picture: Picture) -> Item:
    messages = turn([image_content(), text_content(prompt)], caption)
    meta = {
        "source": source.name,
        "source_digest": source.sha256,
        "width": picture.width,
        "height": picture.height,
        "source_width": picture.source_width,
        "source_height": picture.source_height,
    }
    parts = {"jpg": picture.jpeg, "json": sample_json("caption", source.split, "none", messages, meta)}
    row = _row(source, "ok", size=(picture.width, picture.height), text_bytes=text_size(messages))
    return row, parts


def _row(
    source: SourceItem,
    status: Status,
    category: str | None = None,
    reason: str | None = None,
    size: tuple[int, int] = (0, 0),
    text_bytes: int = 0,
) -> Row:
    return Row(
        key=source.key("i"),
        status=status,
        category=category,
        reason=reason,
        stage=STAGE,
        source=source.name,
        source_digest=source.sha256,
        split=source.split,
        kind="caption",
        views=int(status == "ok"),
        width=size[0],
        height=size[1],
        text_bytes=text_bytes,
        tags=("none",) if status == "ok" else (),
    )


def match_captions(items: Iterable[SourceItem], captions: dict[str, str]) -> tuple[str, ...]:
    """The caption, or "", of each item by its name."""
    return tuple(captions.get(item.name, "") for item in items)
