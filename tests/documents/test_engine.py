"""Rendering, words, and the ink check: labels must be true to what the page shows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pymupdf
import pytest
from hostile import pdf

from pipelines.core.sandbox import SandboxError
from pipelines.documents.engine import Document, PageContent, PageFailure, Render
from pipelines.documents.extract import pages_of
from pipelines.documents.ink import ink_rows, paper_of
from pipelines.documents.regions import find_regions, visible_words
from pipelines.documents.routing import route_page

MakePdf = Callable[..., Path]
Read = Callable[..., PageContent]
Opened = Callable[[Path], Document]


def test_a_card_is_rendered_point_for_pixel(tmp_path: Path, read: Read) -> None:
    document = pymupdf.open()
    document.new_page(width=224, height=112).insert_text((8, 24), "card", fontsize=22)
    document.save(tmp_path / "card.pdf")
    content = read(tmp_path / "card.pdf", natural=True)
    assert content.image.shape == (112, 224, 3)
    assert content.texts == ("card",)
    assert content.scale == 1.0


def test_a_huge_page_is_capped(tmp_path: Path, read: Read) -> None:
    document = pymupdf.open()
    document.new_page(width=14000, height=200).insert_text((8, 100), "wide", fontsize=80)
    document.save(tmp_path / "huge.pdf")
    content = read(tmp_path / "huge.pdf")
    assert max(content.image.shape) <= 4096 + 1
    assert Render(120, 10**6).scale(200_000, 200_000) ** 2 * 200_000**2 <= 10**6 * 1.001


def test_a_hyphen_at_the_end_of_a_line_stays_in_the_label(make_pdf: MakePdf, read: Read) -> None:
    """A label is what the page shows, hard or soft hyphen: nobody is asked to read a word as it stands nowhere."""

    def draw(page: pymupdf.Page) -> None:
        lines = ("the first hyphen is hard, as in inter-", "national, the other one soft, as in inter\u00ad", "rupted")
        for number, line in enumerate(lines):
            page.insert_text((50, 80 + 16 * number), line, fontsize=12)

    content = read(make_pdf("hyphens.pdf", [draw]))
    words = visible_words(content.image, content.boxes, content.texts)
    (region,) = [one.region for one in find_regions(content.image, words, (4, 100), by_line=False)]
    assert region.text.endswith("as in inter- national, the other one soft, as in inter- rupted")


def test_invisible_white_and_covered_words_never_become_labels(make_pdf: MakePdf, read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        page.insert_text((50, 80), "visible", fontsize=14)
        page.insert_text((50, 120), "ghost", fontsize=14, render_mode=3)
        page.insert_text((50, 160), "white", fontsize=14, color=(1, 1, 1))
        page.insert_text((50, 200), "covered", fontsize=14)
        page.draw_rect((40, 185, 130, 206), color=None, fill=(0.2, 0.2, 0.2))
        page.insert_text((50, 240), "underneath", fontsize=14)
        page.draw_rect((40, 225, 180, 246), color=None, fill=(1, 1, 1))
        page.insert_text((50, 240), "overprinted", fontsize=14)
        page.insert_text((150, 280), "secret", fontsize=14)
        page.draw_rect((140, 265, 220, 286), color=None, fill=(1, 1, 1))
        page.insert_text((152, 280), "public", fontsize=13)

    content = read(make_pdf("hidden.pdf", [draw]))
    assert {"ghost", "white", "covered", "underneath", "secret"} <= set(content.texts)
    words = {word.text for word in visible_words(content.image, content.boxes, content.texts)}
    assert words == {"visible"}, "stacked words are dropped together: the raster cannot say which one shows"


def test_coloured_text_of_equal_brightness_still_counts_as_ink(make_pdf: MakePdf, read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        page.draw_rect((40, 60, 200, 100), color=None, fill=(0.9, 0.5, 0.1))
        page.insert_text((50, 85), "coloured", fontsize=16, color=(0.1, 0.5, 0.9))

    content = read(make_pdf("colour.pdf", [draw]))
    assert [word.text for word in visible_words(content.image, content.boxes, content.texts)] == ["coloured"]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_words_lie_on_their_ink_on_rotated_pages(make_pdf: MakePdf, rotation: int, read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        page.insert_text((100, 200), "turned", fontsize=20)
        page.set_rotation(rotation)

    content = read(make_pdf("turned.pdf", [draw]))
    assert [word.text for word in visible_words(content.image, content.boxes, content.texts)] == ["turned"]
    dark = content.image.min(axis=2) < 128
    x0, y0, x1, y1 = (int(v) for v in content.boxes[0] + [-1, -1, 2, 2])
    assert dark[y0:y1, x0:x1].sum() == dark.sum()


def test_a_region_covers_its_ink_and_leaves_the_neighbours(make_pdf: MakePdf, read: Read) -> None:
    """Base-14 fonts have metrics taller than these line distances: boxes are parted at the blank rows."""

    def draw(page: pymupdf.Page) -> None:
        for row in range(4):
            page.insert_text((40, 60 + 23 * row), "gipfel Thought", fontsize=22)

    content = read(make_pdf("tight.pdf", [draw]), natural=True)
    words = visible_words(content.image, content.boxes, content.texts)
    regions = [one.region for one in find_regions(content.image, words, (8, 200), by_line=True)]
    assert [region.text for region in regions] == ["gipfel Thought"] * 4
    for above, below in pairwise(regions):
        assert above.bbox[3] <= below.bbox[1] + 1
    dark = content.image.min(axis=2) < 128
    covered = np.zeros_like(dark)
    for x0, y0, x1, y1 in (region.bbox for region in regions):
        covered[y0:y1, x0:x1] = True
    assert dark[~covered].sum() <= 0.01 * dark.sum()


def test_routes(make_pdf: MakePdf, read: Read, sentence: str) -> None:
    picture = pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 60, 80), False)
    picture.clear_with(120)
    picture.set_rect(pymupdf.IRect(10, 10, 40, 40), (250, 250, 250))

    def blank(page: pymupdf.Page) -> None: ...

    def text(page: pymupdf.Page) -> None:
        page.insert_textbox((40, 40, 380, 300), sentence * 3)

    def scan(page: pymupdf.Page) -> None:
        page.insert_image(page.rect, pixmap=picture)

    def ocred(page: pymupdf.Page) -> None:
        scan(page)
        page.insert_textbox((40, 40, 380, 300), sentence * 3, render_mode=3)

    def slide(page: pymupdf.Page) -> None:
        scan(page)
        text(page)

    path = make_pdf("routes.pdf", [blank, text, scan, ocred, slide])
    found = []
    for number in range(5):
        content = read(path, number)
        ink = bool(len(np.unique(content.image)) > 1)
        found.append(route_page(content.texts, content.invisible, content.image_area, ink).route)
    assert found == ["blank", "born_digital", "scan", "scan", "mixed"]


@pytest.mark.parametrize(
    ("data", "category", "message"),
    [
        (b"", "parse", "empty"),
        (b"<!DOCTYPE html><html></html>", "parse", "not a PDF"),
        (None, "source_unavailable", "No such file"),
    ],
)
def test_files_that_are_no_pdf_say_so(
    tmp_path: Path, data: bytes | None, category: str, message: str, opened: Opened
) -> None:
    path = tmp_path / "x.pdf"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SandboxError, match=message) as error:
        opened(path)
    assert error.value.category == category


def test_a_password_is_told_apart_from_damage(make_pdf: MakePdf, opened: Opened) -> None:
    path = make_pdf(
        "locked.pdf", [lambda page: None], encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="a", owner_pw="b"
    )
    with pytest.raises(SandboxError) as error:
        opened(path)
    assert error.value.category == "encrypted"


def test_the_reason_does_not_depend_on_the_file_before(make_pdf: MakePdf, tmp_path: Path, opened: Opened) -> None:
    """PDFium keeps its last error: a file without pages after a locked one is not locked."""
    locked = make_pdf(
        "locked.pdf", [lambda page: None], encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="a", owner_pw="b"
    )
    none = tmp_path / "none.pdf"
    none.write_bytes(pdf([], {}))
    told = []
    for path in (none, locked, none):
        try:
            told.append(opened(path).pages or "empty")
        except SandboxError as error:
            told.append(error.category)
    assert told == ["empty", "encrypted", "empty"]


def test_ink_rows_count_what_differs_from_the_paper() -> None:
    image = np.full((10, 10, 3), 200, np.uint8)
    image[3:5, 2:6] = 40
    np.testing.assert_array_equal(ink_rows(image, paper_of(image)), [0, 0, 0, 4, 4, 0, 0, 0, 0, 0])


def test_a_page_without_pixels_is_no_page(tmp_path: Path) -> None:
    """Found by the fuzz run: an engine that gives a raster of zero pixels."""

    class Thin:
        pages = 1

        def page(self, index: int, render: Render) -> PageContent:
            nothing = np.zeros((3, 0, 3), np.uint8)
            return PageContent(index, nothing, np.zeros((0, 4), np.float32), (), 0.0, 0.0, (0.004, 3.0), 1.0)

        def close(self) -> None: ...

    (answer,) = pages_of(Thin(), "thin.pdf", 0, 1, Render(72, 1000))  # type: ignore[arg-type]
    assert answer == PageFailure(0, "render", "a page of 0.004 x 3 points has no pixels")
