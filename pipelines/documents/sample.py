"""One view of one page as a sample: draw regions and levels, damage them, mark them, encode, write prompt and
target."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.seeds import generator
from pipelines.corruption.levels import draw_levels
from pipelines.corruption.operators import OPERATOR_VERSION
from pipelines.corruption.page import Region, corrupt_page
from pipelines.documents.config import DocumentSettings
from pipelines.documents.marks import draw_boxes
from pipelines.documents.regions import TextRegion, choose
from pipelines.shards.sample import image_content, sample_json, text_content, text_size, turn

try:
    import simplejpeg
except ImportError:  # Pillow writes other bytes; the encoder is part of the step's key
    simplejpeg = None


@dataclass(frozen=True)
class CleanPage:
    """A page ready for its views: raster [H, W, 3], all its regions, and what is known about it (for ``meta``)."""

    image: NDArray[np.uint8]
    regions: tuple[TextRegion, ...]
    by_line: bool
    source: str
    source_digest: str
    page: int
    family: str
    split: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class View:
    """The parts of a sample and the figures of its manifest row."""

    parts: dict[str, bytes]
    text_bytes: int
    regions: tuple[dict[str, Any], ...]


def jpeg_encoder() -> str:
    """Which encoder writes the pictures, with its version: part of the step's key."""
    if simplejpeg is not None:
        import importlib.metadata

        return f"simplejpeg {importlib.metadata.version('simplejpeg')}"
    import PIL

    return f"pillow {PIL.__version__}"


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG with full colour resolution (4:4:4), so that small coloured text stays sharp."""
    if simplejpeg is not None:
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality, colorsubsampling="444"))
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def make_view(page: CleanPage, view: int, settings: DocumentSettings) -> View:
    """The sample of one view. Every draw comes from (seed, source digest, page, view, operator version)."""
    rng = generator("documents", settings.seed, page.source_digest, page.page, view, OPERATOR_VERSION)
    chosen: Sequence[TextRegion] = page.regions
    if not page.by_line:
        total = sum(region.tokens for region in page.regions)
        chosen = choose(page.regions, total, settings.regions, settings.region_share, rng)
    levels = draw_levels(len(chosen), settings.levels.weights, rng, keep_visible=page.by_line)
    damaged, records = corrupt_page(
        page.image,
        [Region(region.bbox, level, region.glyph_height) for region, level in zip(chosen, levels, strict=True)],
        rng,
    )
    if not page.by_line:
        damaged = draw_boxes(damaged, [region.bbox for region in chosen])
    regions = tuple(
        {"index": index, "bbox": list(region.bbox), "text": region.text, **record}
        for index, (region, record) in enumerate(zip(chosen, records, strict=True), 1)
    )
    target = "\n".join(settings.templates.line.format(index=item["index"], text=item["text"]) for item in regions)
    prompt = settings.templates.card if page.by_line else settings.templates.page
    messages = turn([image_content(), text_content(prompt)], target)
    meta = {
        "source": page.source,
        "source_digest": page.source_digest,
        "page": page.page,
        "view": view,
        "family": page.family,
        "regions": list(regions),
        "seed": settings.seed,
        "operator_version": OPERATOR_VERSION,
        **page.facts,
    }
    parts = {
        "jpg": encode_jpeg(damaged, settings.jpeg_quality),
        "json": sample_json("document", page.split, "none", messages, meta),
    }
    return View(parts, text_size(messages), regions)
