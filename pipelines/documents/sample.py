"""One view of one page as a sample: draw it, encode it, write its JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from pipelines.core.seeds import generator
from pipelines.corruption.halved import Planes
from pipelines.corruption.operators import OPERATOR_VERSION
from pipelines.corruption.view import ONLINE, Drawn, TextRegion, ViewRecipe, draw_view, online_record
from pipelines.documents.config import DocumentShards
from pipelines.shards.plan import SourceItem
from pipelines.shards.sample import image_content, sample_json, text_content, text_size, turn


@dataclass(frozen=True)
class CleanPage:
    """A page ready for its views: raster [H, W, 3 or 1], its regions, the size of its whole text in ``tokens``, and what is
    known about it (for ``meta``)."""

    image: NDArray[np.uint8]
    regions: tuple[TextRegion, ...]
    tokens: float
    by_line: bool
    source: SourceItem
    page: int
    facts: dict[str, Any]

    @property
    def family(self) -> str:
        return self.source.family or "user"


@dataclass(frozen=True)
class View:
    """The parts of a sample and the figures of its manifest row."""

    parts: dict[str, bytes]
    text_bytes: int
    regions: tuple[dict[str, Any], ...]


def encode_jpeg(image: NDArray[np.uint8] | Planes, quality: int, full_colour: bool = True) -> bytes:
    """JPEG of a page [H, W, 3] with full colour resolution (4:4:4), so that small coloured text stays sharp, or else
    4:2:0, as which ``Planes`` are always stored. A page [H, W, 1] becomes a grey JPEG."""
    if isinstance(image, Planes):
        return bytes(simplejpeg.encode_jpeg_yuv_planes(_even(image.luma), image.blue, image.red, quality))
    space, sampling = ("GRAY", "Gray") if image.shape[2] == 1 else ("RGB", "444" if full_colour else "420")
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, space, sampling))


def _even(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The plane [H, W] with its last row and column once more behind it where H or W is odd: libjpeg-turbo takes halved
    colours to stand for pairs and reads that far (``tjPlaneWidth``), whatever lies there."""
    height, width = luma.shape
    if height % 2 == width % 2 == 0:
        return luma
    return np.pad(luma, ((0, height % 2), (0, width % 2)), mode="edge")[:height, :width]


def recipe_of(settings: DocumentShards, by_line: bool) -> ViewRecipe:
    """How views of a page are drawn under these settings; ``by_line`` for cards."""
    words = settings.templates
    prompts = {"boxes": words.page, "single": words.single, "coordinates": words.coordinates}
    return ViewRecipe(
        weights=settings.levels.weights,
        count=settings.regions,
        share=settings.region_share,
        by_line=by_line,
        address=settings.address,
        prompt=words.card if by_line else prompts[settings.address],
        box=words.box,
        line=words.single_line if settings.address == "single" and not by_line else words.line,
    )


def make_view(page: CleanPage, view: int, settings: DocumentShards) -> View:
    """The sample of one view. Every draw comes from (seed, source digest, page, view, operator version)."""
    if settings.target == "parser":
        text = "\n".join(region.text for region in page.regions)
        return _view(page, view, settings, Drawn(page.image, settings.templates.parser, text, ()), {"target": "parser"})
    rng = generator("documents", settings.seed, page.source.sha256, page.page, view, OPERATOR_VERSION)
    recipe = recipe_of(settings, page.by_line)
    drawn = draw_view(page.image, page.regions, page.tokens, recipe, rng, halved=settings.jpeg_colour == "compact")
    if settings.form == "online":
        clean = replace(drawn, picture=page.image, regions=())
        return _view(page, view, settings, clean, {ONLINE: online_record(page.regions, page.tokens, recipe)})
    return _view(page, view, settings, drawn, {})


def _view(page: CleanPage, view: int, settings: DocumentShards, drawn: Drawn, more: dict[str, Any]) -> View:
    messages = turn([image_content(), text_content(drawn.prompt)], drawn.target)
    meta = {
        "source": page.source.name,
        "source_digest": page.source.sha256,
        "page": page.page,
        "view": view,
        "family": page.family,
        "regions": list(drawn.regions),
        "seed": settings.seed,
        "operator_version": OPERATOR_VERSION,
        **more,
        **page.facts,
    }
    parts = {
        "jpg": encode_jpeg(drawn.picture, settings.jpeg_quality, settings.jpeg_colour == "full"),
        "json": sample_json("document", page.source.split, "none", messages, meta),
    }
    return View(parts, text_size(messages), drawn.regions)
