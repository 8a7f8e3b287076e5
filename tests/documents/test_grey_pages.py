"""``jpeg_colour: compact``: pages without colour go through the stage in one channel, and nothing else is different."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from PIL import Image

from benchmarks.pages import make_pdfs
from pipelines.core.sandbox import close_sandboxes
from pipelines.corruption.arrays import coloured
from pipelines.documents.build import PageJob, build_page_unit
from pipelines.documents.config import DocumentShards
from pipelines.documents.engine import Document, Render
from pipelines.documents.plan import Bounds, Span, plan_pages
from pipelines.shards.plan import SourceItem

GREY, PLAIN = Render(100, 2_000_000, grey=True), Render(100, 2_000_000)


def text(page: pymupdf.Page) -> None:
    page.insert_text((40, 60), "black and half black", fontsize=14)
    page.insert_text((40, 90), "grey words", fontsize=14, color=(0.5, 0.5, 0.5))


def picture(page: pymupdf.Page, colour: tuple[int, int, int]) -> None:
    text(page)
    pixels = Image.new("RGB", (30, 30), (200, 200, 200))
    pixels.putpixel((7, 7), colour)
    stream = io.BytesIO()
    pixels.save(stream, "PNG")
    page.insert_image(pymupdf.Rect(40, 200, 240, 400), stream=stream.getvalue())


def faint(page: pymupdf.Page) -> None:
    text(page)
    page.insert_text((40, 150), "nearly grey", fontsize=14, color=(0.5, 0.5, 0.53))


def highlighted(page: pymupdf.Page) -> None:
    text(page)
    page.add_highlight_annot(pymupdf.Rect(40, 45, 100, 62)).update()


@pytest.mark.parametrize(
    ("draw", "channels"),
    [
        (text, 1),
        (lambda page: picture(page, (90, 90, 90)), 1),
        (lambda page: picture(page, (90, 30, 90)), 3),
        (faint, 3),
        (highlighted, 3),
    ],
)
def test_one_channel_where_all_are_equal_and_words_stay(
    make_pdf: Callable[..., Path], opened: Callable[[Path], Document], draw: Callable, channels: int
) -> None:
    document = opened(make_pdf("page.pdf", [draw]))
    try:
        grey, plain = document.page(0, GREY), document.page(0, PLAIN)
    finally:
        document.close()
    assert plain.image.shape[2] == 3 and grey.image.shape == (*plain.image.shape[:2], channels)
    np.testing.assert_array_equal(coloured(grey.image), plain.image)
    assert grey.texts == plain.texts and "grey" in grey.texts
    np.testing.assert_array_equal(grey.boxes, plain.boxes)


def build(folder: Path, pdf: Path, **more: object) -> dict[str, tuple[dict, Image.Image]]:
    """Key -> sample and picture of every page of a file."""
    item = SourceItem(str(pdf), "a.pdf", 1, "5a" * 32, "train")
    (unit,) = plan_pages([Span(item, 0, 3)], Bounds(10_000, 10_000, 1 << 29, 1_000_000), 2)
    settings = DocumentShards.model_validate({"dpi": 100, "seed": 3, "ocr": False, **more})
    receipt = build_page_unit(PageJob(unit, settings), folder)
    assert receipt["counts"]["ok"] == 3 * settings.views_per_page
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(folder / receipt["files"][0]) as tar:
        for member in tar:
            key, _, part = member.name.partition(".")
            found.setdefault(key, {})[part] = tar.extractfile(member).read()  # type: ignore[union-attr]
    return {key: (json.loads(one["json"]), Image.open(io.BytesIO(one["jpg"]))) for key, one in found.items()}


@pytest.mark.parametrize(("address", "mode"), [("boxes", "RGB"), ("coordinates", None)])
def test_a_compact_page_has_the_draws_and_nearly_the_pixels_of_a_full_one(
    tmp_path: Path, address: str, mode: str | None
) -> None:
    (pdf,) = make_pdfs(tmp_path / "in", files=1, pages=3)
    more = {"address": address, "views_per_page": 2}
    try:
        full = build(tmp_path / "full", pdf, **more)
        compact = build(tmp_path / "compact", pdf, jpeg_colour="compact", **more)
    finally:
        close_sandboxes()
    assert compact.keys() == full.keys()
    for key, (sample, image) in compact.items():
        wanted, large = full[key]
        assert sample == wanted
        assert image.size == large.size and (mode is None or image.mode == mode)
        brightness = [np.asarray(one.convert("L")).astype(int) for one in (image, large)]
        assert np.abs(brightness[0] - brightness[1]).mean() < 0.5


def test_a_page_read_as_a_whole_becomes_a_grey_jpeg_of_the_same_pixels(tmp_path: Path) -> None:
    (pdf,) = make_pdfs(tmp_path / "in", files=1, pages=3)
    try:
        full = build(tmp_path / "full", pdf, target="parser")
        compact = build(tmp_path / "compact", pdf, target="parser", jpeg_colour="compact")
    finally:
        close_sandboxes()
    for key, (sample, image) in compact.items():
        assert sample == full[key][0]
        assert image.mode == "L" and full[key][1].mode == "RGB"
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - np.asarray(full[key][1])).max() <= 2
