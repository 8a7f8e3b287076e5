"""Captioned pictures to samples: one row for every picture of the plan, written or with the rule that left it out."""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import ConfigError
from pipelines.core.sandbox import Sandbox, SandboxError, kept_sandbox
from pipelines.core.seeds import split_of
from pipelines.core.storage import local_file
from pipelines.images.settings import CaptionShards
from pipelines.images.sources import TAR, read_sidecar, read_tar
from pipelines.media.likeness import likeness
from pipelines.media.picture import Picture
from pipelines.shards.manifest import Row
from pipelines.shards.plan import SourceItem, Unit
from pipelines.shards.sample import image_content, sample_json, text_content, text_size, turn
from pipelines.shards.unit import Item, write_unit

if TYPE_CHECKING:
    from PIL import Image

STAGE = "captions"
TARGET = "pipelines.media.picture:read_picture"
Score = Callable[["Image.Image", str], float]


@dataclass(frozen=True)
class CaptionJob:
    """A unit and all that decides its bytes. ``captions`` has a text, or "", for each source of the unit, in order;
    ``near`` the name of the picture that one looks like, or "", for each (empty when nobody looked)."""

    unit: Unit
    settings: CaptionShards
    captions: tuple[str, ...]
    near: tuple[str, ...] = ()


def build_caption_unit(job: CaptionJob, folder: Path) -> dict[str, Any]:
    """Write one unit into ``folder``; the receipt of ``write_unit``. A bad picture costs its own row only."""
    sandbox = kept_sandbox(TARGET, job.settings.deadline_s, job.settings.memory_bytes)
    planned = None if any(is_tar(source) for source in job.unit.items) else len(job.unit.items)
    return write_unit(folder, job.unit.name, _items(job, sandbox), planned=planned)


def measure_pictures(job: CaptionJob) -> dict[str, int]:
    """Likeness of each picture of a unit by name; those that cannot be opened are left to the unit itself."""
    sandbox = kept_sandbox(TARGET, job.settings.deadline_s, job.settings.memory_bytes)
    found = {}
    for source in job.unit.items:
        if source.copy_of or is_tar(source):
            continue
        try:
            picture = sandbox.call(source.path, 256 * 256, job.settings.most_source_pixels, 90)
        except SandboxError:
            continue
        found[source.name] = likeness(_opened(picture))
    return found


@functools.cache
def load_score(dotted: str) -> Score:
    """``package.module:function`` of (picture, caption) -> number. Raises ConfigError when it cannot be imported."""
    module, _, name = dotted.partition(":")
    try:
        function: Score = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"score {dotted!r} cannot be imported", why=str(error), do="write it as package.module:function"
        ) from error
    return function


def is_tar(source: SourceItem) -> bool:
    return source.name.lower().endswith(TAR)


def _items(job: CaptionJob, sandbox: Sandbox) -> Iterator[Item]:
    for number, (source, caption) in enumerate(zip(job.unit.items, job.captions, strict=True)):
        if source.copy_of:
            yield _row(source).filtered("duplicate", f"same bytes as {source.copy_of}")
        elif job.near and job.near[number]:
            yield _row(source).filtered("duplicate", f"looks like {job.near[number]}")
        elif is_tar(source):
            yield from _tar_items(job, source, sandbox)
        else:
            try:
                told = caption or (read_sidecar(local_file(source.sidecar)) if source.sidecar else "")
            except ValueError as error:
                yield _row(source).quarantined("parse", f"sidecar {Path(source.sidecar).name}: {error}")
                continue
            yield _item(job, sandbox, source, source.path, told)


def _tar_items(job: CaptionJob, tar: SourceItem, sandbox: Sandbox) -> Iterator[Item]:
    """A row for each sample of a foreign tar; each picture has the split of its own bytes."""
    number = 0
    seen: dict[str, str] = {}
    try:
        for number, member in enumerate(read_tar(Path(tar.path))):
            digest = hashlib.sha256(member.picture).hexdigest()
            name = f"{tar.name}/{member.key}"
            source = SourceItem(
                tar.address, name, len(member.picture), digest, split_of(digest, job.settings.split_seed)
            )
            key = f"{tar.key('i')}-s{number:06d}"
            if digest in seen:
                yield _row(source, key).filtered("duplicate", f"same bytes as {seen[digest]}")
                continue
            seen[digest] = name
            yield _item(job, sandbox, source, member.picture, member.caption, key)
            number += 1
    except ValueError as error:
        yield _row(tar, f"{tar.key('i')}-s{number:06d}-rest").quarantined("parse", tar.told(str(error)))


def _item(
    job: CaptionJob, sandbox: Sandbox, source: SourceItem, medium: str | bytes, caption: str, key: str = ""
) -> Item:
    settings, row = job.settings, _row(source, key)
    try:
        picture = sandbox.call(medium, settings.max_pixels, settings.most_source_pixels, settings.jpeg_quality)
    except SandboxError as error:
        return row.quarantined(error.category, source.told(error.message))
    sides = sorted((picture.source_width, picture.source_height))
    size = f"{picture.source_width}x{picture.source_height} pixels"
    if sides[0] < settings.min_side:
        return row.filtered("policy", f"{size}, a side is below {settings.min_side}")
    if settings.max_aspect is not None and sides[1] > settings.max_aspect * sides[0]:
        return row.filtered("policy", f"{size}, longer than {settings.max_aspect:g} to 1")
    if not caption:
        return row.filtered("empty_text", "no caption")
    detail = {}
    if settings.score is not None:
        detail["score"] = round(float(load_score(settings.score)(_opened(picture), caption)), 6)
        row = replace(row, detail=json.dumps(detail, sort_keys=True))
        if detail["score"] < settings.min_score:
            reason = f"score {detail['score']:g} of {settings.score} is below {settings.min_score:g}"
            return row.filtered("policy", reason)
    messages = turn([image_content(), text_content(settings.prompt)], caption)
    meta = {
        "source": source.name,
        "source_digest": source.sha256,
        "width": picture.width,
        "height": picture.height,
        "source_width": picture.source_width,
        "source_height": picture.source_height,
        **detail,
    }
    parts = {"jpg": picture.jpeg, "json": sample_json(row.kind, row.split, "none", messages, meta)}
    written = replace(
        row,
        views=1,
        width=picture.width,
        height=picture.height,
        text_bytes=text_size(messages),
        tags=("none",),
    )
    return written, parts


def _opened(picture: Picture) -> Image.Image:
    from PIL import Image

    return Image.open(io.BytesIO(picture.jpeg))


def _row(source: SourceItem, key: str = "") -> Row:
    return source.row(key or source.key("i"), STAGE, "caption")
