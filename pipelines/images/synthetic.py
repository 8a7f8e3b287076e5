"""Synthetic OCR samples: drawn text and rendered pages to one shard unit, with a row for every one planned."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.sandbox import SandboxError
from pipelines.core.sandboxes import kept_sandbox
from pipelines.core.seeds import generator, split_of
from pipelines.images.drawing import Line, draw_lines
from pipelines.shards.manifest import CATEGORIES, Row
from pipelines.shards.plan import SourceItem
from pipelines.shards.sample import encode_jpeg, image_content, sample_json, text_content, text_size, turn
from pipelines.shards.unit import Item, write_unit

STAGE = "synthetic_ocr"
PICTURE, PAGE = "pipelines.images.decode:read_picture", "pipelines.images.pages:render_page"
PAGE_SUFFIXES = (".html", ".htm", ".xhtml")


@dataclass(frozen=True)
class Batch:
    """A unit of work: drawings ``start`` to before ``stop``, and pages."""

    name: str
    start: int
    stop: int
    pages: tuple[SourceItem, ...]


@dataclass(frozen=True)
class OcrJob:
    """A unit and all that decides its bytes. ``sizes`` are widths and heights in pixels a drawing is made in; a share
    ``photo_share`` (0-1) of them lies on one of ``photos``. ``page_size`` is the window of rendered pages."""

    unit: Batch
    seed: int
    sizes: tuple[int, int]
    most_lines: int
    photos: tuple[SourceItem, ...]
    photo_share: float
    page_size: tuple[int, int]
    prompt: str
    quality: int
    split_seed: int
    chromium: str
    deadline_s: float
    memory_bytes: int


def build_ocr_unit(job: OcrJob, folder: Path) -> dict[str, Any]:
    """Write one unit into ``folder``; the receipt of ``write_unit``."""
    planned = job.unit.stop - job.unit.start + len(job.unit.pages)
    return write_unit(folder, job.unit.name, _items(job), planned=planned)


def _items(job: OcrJob) -> Iterator[Item]:
    for number in range(job.unit.start, job.unit.stop):
        yield _drawn(job, number)
    for page in job.unit.pages:
        yield _rendered(job, page)


def _drawn(job: OcrJob, number: int) -> Item:
    """Words and fonts follow the split of the drawing; every draw comes from (seed, number)."""
    from PIL import Image

    split = split_of(f"{STAGE}/{job.seed}/{number}", job.split_seed)
    rng = generator(STAGE, job.seed, number)
    size = (int(rng.integers(job.sizes[0], job.sizes[1] + 1)), int(rng.integers(job.sizes[0], job.sizes[1] + 1)))
    photos = [photo for photo in job.photos if photo.split == split] or list(job.photos)
    photo = photos[int(rng.integers(len(photos)))] if photos and rng.random() < job.photo_share else None
    key = f"o{job.seed:08d}-n{number:07d}"
    background = None
    if photo is not None:
        try:
            box = kept_sandbox(PICTURE, job.deadline_s, job.memory_bytes)
            picture = box.call(photo.path, 4 * job.sizes[1] ** 2, 100_000_000, 95)
        except SandboxError as error:
            return _bad(key, photo, number, split, error), None
        background = Image.open(io.BytesIO(picture.jpeg))
    drawing = draw_lines(rng, split if split == "test" else "train", background, size, job.most_lines)
    about = {"background": photo.name if photo else "texture", "background_digest": photo.sha256 if photo else ""}
    source = SourceItem("", f"drawing/{number:07d}", 0, "", split)
    return _sample(job, key, source, number, encode_jpeg(drawing.image, job.quality), size, drawing.lines, about)


def _rendered(job: OcrJob, page: SourceItem) -> Item:
    key = f"{page.key('w')}-w{job.page_size[0]:05d}"
    if page.copy_of:
        reason = f"same bytes as {page.copy_of}"
        return page.row(key, STAGE, "ocr", "filtered", "duplicate", reason), None
    try:
        # no memory limit: Chromium reserves address space by the terabyte
        box = kept_sandbox(PAGE, job.deadline_s, 0)
        shown = box.call(str(Path(page.path).resolve()), *job.page_size, job.chromium, job.quality)
    except SandboxError as error:
        return _bad(key, page, 0, page.split, error), None
    if not shown.lines:
        reason = "no text can be seen"
        return page.row(key, STAGE, "ocr", "filtered", "empty_text", reason), None
    return _sample(job, key, page, 0, shown.jpeg, (shown.width, shown.height), shown.lines, {"page": page.name})


def _sample(
    job: OcrJob,
    key: str,
    source: SourceItem,
    item: int,
    jpeg: bytes,
    size: tuple[int, int],
    lines: tuple[Line, ...],
    about: dict[str, str],
) -> Item:
    messages = turn([image_content(), text_content(job.prompt)], "\n".join(line.text for line in lines))
    regions = [{"text": line.text, "quad": [list(corner) for corner in line.quad]} for line in lines]
    meta: dict[str, Any] = {"source": source.name, "source_digest": source.sha256, "regions": regions, **about}
    parts = {"jpg": jpeg, "json": sample_json("ocr", source.split, "none", messages, meta)}
    row = source.row(
        key,
        STAGE,
        "ocr",
        "ok",
        item=item,
        size=size,
        views=1,
        text_bytes=text_size(messages),
        tags=("none",),
        detail=json.dumps({**about, "lines": len(lines)}, sort_keys=True, ensure_ascii=False),
    )
    return row, parts


def _bad(key: str, source: SourceItem, item: int, split: str, error: SandboxError) -> Row:
    category = error.category if error.category in CATEGORIES else "render"
    reason = f"{source.name}: {source.told(error.message)}"
    return source.row(key, STAGE, "ocr", "quarantined", category, reason, item=item, split=split)
