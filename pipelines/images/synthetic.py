"""Synthetic OCR samples: drawn text and rendered pages to one shard unit, with a row for every one planned."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.sandbox import SandboxError, kept_sandbox
from pipelines.core.seeds import generator, split_of
from pipelines.images.drawing import Line, draw_lines
from pipelines.images.settings import SyntheticOcr
from pipelines.shards.manifest import Row
from pipelines.shards.plan import SourceItem
from pipelines.shards.sample import encode_jpeg, image_content, sample_json, text_content, text_size, turn
from pipelines.shards.unit import Item, write_unit

STAGE = "synthetic_ocr"
PICTURE, PAGE = "pipelines.media.picture:read_picture", "pipelines.images.pages:render_page"
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
    """A unit and all that decides its bytes; ``photos`` are backgrounds to draw on."""

    unit: Batch
    settings: SyntheticOcr
    photos: tuple[SourceItem, ...]


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

    settings = job.settings
    split = split_of(f"{STAGE}/{settings.seed}/{number}", settings.split_seed)
    rng = generator(STAGE, settings.seed, number)
    least, most = settings.min_side, settings.max_side
    size = (int(rng.integers(least, most + 1)), int(rng.integers(least, most + 1)))
    photos = [photo for photo in job.photos if photo.split == split] or list(job.photos)
    photo = photos[int(rng.integers(len(photos)))] if photos and rng.random() < settings.photo_share else None
    key = f"o{settings.seed:08d}-n{number:07d}"
    background = None
    if photo is not None:
        try:
            box = kept_sandbox(PICTURE, settings.deadline_s, settings.memory_bytes)
            picture = box.call(photo.path, 4 * most**2, 100_000_000, 95)
        except SandboxError as error:
            return _bad(photo.row(key, STAGE, "ocr", number, split), photo, error)
        background = Image.open(io.BytesIO(picture.jpeg))
    drawing = draw_lines(rng, split if split == "test" else "train", background, size, settings.most_lines)
    about = {"background": photo.name if photo else "texture", "background_digest": photo.sha256 if photo else ""}
    row = SourceItem("", f"drawing/{number:07d}", 0, "", split).row(key, STAGE, "ocr", number)
    return _sample(job, row, encode_jpeg(drawing.image, settings.jpeg_quality), size, drawing.lines, about)


def _rendered(job: OcrJob, page: SourceItem) -> Item:
    settings = job.settings
    width, height = settings.page_width, settings.page_height
    row = page.row(f"{page.key('w')}-w{width:05d}", STAGE, "ocr")
    if page.copy_of:
        return row.filtered("duplicate", f"same bytes as {page.copy_of}")
    try:
        # no memory limit: Chromium reserves address space by the terabyte
        box = kept_sandbox(PAGE, settings.deadline_s, 0)
        shown = box.call(str(Path(page.path).resolve()), width, height, settings.chromium, settings.jpeg_quality)
    except SandboxError as error:
        return _bad(row, page, error)
    if not shown.lines:
        return row.filtered("empty_text", "no text can be seen")
    return _sample(job, row, shown.jpeg, (shown.width, shown.height), shown.lines, {"page": page.name})


def _sample(
    job: OcrJob, row: Row, jpeg: bytes, size: tuple[int, int], lines: tuple[Line, ...], about: dict[str, str]
) -> Item:
    messages = turn([image_content(), text_content(job.settings.prompt)], "\n".join(line.text for line in lines))
    regions = [{"text": line.text, "quad": [list(corner) for corner in line.quad]} for line in lines]
    meta: dict[str, Any] = {"source": row.source, "source_digest": row.source_digest, "regions": regions, **about}
    parts = {"jpg": jpeg, "json": sample_json(row.kind, row.split, "none", messages, meta)}
    written = replace(
        row,
        views=1,
        width=size[0],
        height=size[1],
        text_bytes=text_size(messages),
        tags=("none",),
        detail=json.dumps({**about, "lines": len(lines)}, sort_keys=True, ensure_ascii=False),
    )
    return written, parts


def _bad(row: Row, source: SourceItem, error: SandboxError) -> Item:
    return row.quarantined(error.category, f"{source.name}: {source.told(error.message)}", otherwise="render")
