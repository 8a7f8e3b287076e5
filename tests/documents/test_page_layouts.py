"""Whole pages typeset by code, read through both engines: regions keep to one flow of text, and flows come in the order
of a reader. ``plain`` is held to what it can do; what it cannot is why there is ``columns``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pymupdf
import pytest
from typeset import WORDS, Typeset, mpl_face, new_page, plain

from pipelines.corruption.view import TextRegion
from pipelines.documents.columns import starts_caption
from pipelines.documents.engine import PageContent
from pipelines.documents.layout import Layout
from pipelines.documents.regions import clean_text, find_regions, tokens, visible_words

Draw = Callable[[Typeset], None]
Read = Callable[..., PageContent]
LEAST = 8  # tokens of a region
LEFT, RIGHT, COLUMN = 50.0, 310.0, 235.0
ARABIC = "اللغة العربية لغة جميلة كتبت بها كتب كثيرة وقرأها الناس في البلاد البعيدة"
HEBREW = "שלום עולם הספר הגדול נכתב בעיר הישנה ליד הנהר בימי החורף הקרים"
CHINESE = "天地人日月山水火木金土大小中下左右前后东西南北春夏秋冬风雨雷电花草树林田园河海江湖星云雪石"


def cells(rows: int, columns: int) -> list[list[str]]:
    """A name and numbers."""
    return [
        [f"{WORDS[row * 3]}{row}" if c == 0 else f"{row},{c}{7 * row}5" for c in range(columns)] for row in range(rows)
    ]


def turns(text: str, count: int, step: int) -> str:
    words = text.split(" ")
    return " ".join(words[(i * step) % len(words)] for i in range(count))


def ruled_table(sheet: Typeset) -> None:
    foot = sheet.paragraph("before", plain(60, 1), 60, 60, 475)
    foot = sheet.table("table", cells(8, 4), 60, foot + 12, [118] * 4)
    sheet.paragraph("caption", "Table 1: " + plain(10, 2), 60, foot + 8, 475, 9)
    sheet.paragraph("after", plain(60, 3), 60, foot + 50, 475)


def open_table(sheet: Typeset) -> None:
    foot = sheet.paragraph("before", plain(60, 1), 60, 60, 475)
    foot = sheet.table("table", cells(8, 4), 60, foot + 12, [118] * 4, ruled=False)
    sheet.paragraph("after", plain(60, 3), 60, foot + 20, 475)


def table_written_by_column(sheet: Typeset) -> None:
    """The file holds the cells column after column, set as close as text."""
    foot = sheet.paragraph("before", plain(60, 1), 60, 60, 475)
    foot = sheet.table("table", cells(8, 4), 60, foot + 12, [118] * 4, height=12, ruled=False, by_column=True)
    sheet.paragraph("after", plain(60, 3), 60, foot + 20, 475)


def table_of_two_columns(sheet: Typeset) -> None:
    foot = sheet.paragraph("before", plain(60, 1), 60, 60, 475)
    foot = sheet.table("table", cells(8, 2), 60, foot + 12, [150, 150])
    sheet.paragraph("after", plain(60, 3), 60, foot + 20, 475)


def table_in_the_left_column(sheet: Typeset, columns: int = 3) -> None:
    foot = sheet.paragraph("left above", plain(60, 1), LEFT, 60, COLUMN)
    foot = sheet.table("table", cells(8, columns), LEFT, foot + 10, [COLUMN / columns] * columns)
    foot = sheet.paragraph("caption", "Table 2: " + plain(9, 5), LEFT, foot + 6, COLUMN, 9)
    sheet.paragraph("left below", plain(80, 2), LEFT, foot + 14, COLUMN)
    sheet.paragraph("right", plain(170, 3), RIGHT, 60, COLUMN)


def pairs_in_the_left_column(sheet: Typeset) -> None:
    table_in_the_left_column(sheet, 2)


def table_in_the_right_column(sheet: Typeset) -> None:
    sheet.paragraph("left", plain(170, 3), LEFT, 60, COLUMN)
    foot = sheet.paragraph("right above", plain(60, 1), RIGHT, 60, COLUMN)
    foot = sheet.table("table", cells(8, 3), RIGHT, foot + 10, [COLUMN / 3] * 3)
    sheet.paragraph("right below", plain(60, 2), RIGHT, foot + 14, COLUMN)


def table_across_two_columns(sheet: Typeset) -> None:
    foot = sheet.table("table", cells(6, 5), LEFT, 50, [99] * 5)
    sheet.paragraph("caption", "Table 3: " + plain(14, 5), LEFT, foot + 6, 495, 9)
    sheet.paragraph("left", plain(120, 2), LEFT, foot + 50, COLUMN)
    sheet.paragraph("right", plain(120, 3), RIGHT, foot + 50, COLUMN)


def caption_under_a_figure(sheet: Typeset) -> None:
    foot = sheet.paragraph("before", plain(60, 1), 60, 60, 475)
    foot = sheet.figure(120, foot + 10, 350, 150)
    foot = sheet.paragraph("caption", "Figure 1: " + plain(14, 2), 60, foot + 6, 475)
    sheet.paragraph("after", plain(80, 3), 60, foot + 8, 475)


def caption_of_three_words(sheet: Typeset) -> None:
    """Too short to be asked for, and no part of what follows."""
    foot = sheet.paragraph("before", plain(60, 1), 60, 60, 475)
    foot = sheet.figure(120, foot + 10, 350, 150)
    foot = sheet.paragraph("caption", "Figure 1: Loss.", 60, foot + 6, 475, 9)
    sheet.paragraph("after", plain(80, 3), 60, foot + 10, 475)


def caption_beside_a_figure(sheet: Typeset) -> None:
    foot = sheet.paragraph("before", plain(60, 1), 60, 60, 475)
    sheet.paragraph("caption", "Figure 3: " + plain(30, 2), 300, foot + 14, COLUMN, 9)
    foot = sheet.figure(60, foot + 10, 220, 150)
    sheet.paragraph("after", plain(80, 3), 60, foot + 14, 475)


def figure_in_a_column(sheet: Typeset) -> None:
    """The right column ends above the caption: the caption still belongs to the left one."""
    sheet.paragraph("title", plain(9, 9), LEFT, 40, 495, 16)
    foot = sheet.paragraph("left", plain(90, 2), LEFT, 110, COLUMN)
    foot = sheet.figure(LEFT, foot + 10, COLUMN, 110)
    sheet.paragraph("caption", "Figure 2: " + plain(14, 3), LEFT, foot + 6, COLUMN, 9)
    sheet.paragraph("right", plain(100, 4), RIGHT, 110, COLUMN)


def figure_across_two_columns(sheet: Typeset) -> None:
    foot = sheet.figure(LEFT, 50, 495, 150)
    sheet.paragraph("caption", "Figure 4: " + plain(20, 5), LEFT, foot + 6, 495, 9)
    sheet.paragraph("left", plain(150, 2), LEFT, foot + 50, COLUMN)
    sheet.paragraph("right", plain(150, 3), RIGHT, foot + 50, COLUMN)


def footnotes(sheet: Typeset) -> None:
    sheet.paragraph("body", plain(250, 1), 60, 60, 475)
    sheet.page.draw_line((60, 740), (200, 740), width=0.5)
    sheet.paragraph("notes", "1 " + plain(36, 4), 60, 746, 475, 7.5)


def footnote_of_a_column(sheet: Typeset) -> None:
    foot = sheet.paragraph("left", plain(130, 1), LEFT, 60, COLUMN)
    sheet.page.draw_line((LEFT, foot + 8), (150, foot + 8), width=0.5)
    sheet.paragraph("notes", "1 " + plain(18, 4), LEFT, foot + 12, COLUMN, 7.5)
    sheet.paragraph("right", plain(170, 3), RIGHT, 60, COLUMN)


def header_and_footer(sheet: Typeset) -> None:
    """A running title on the left, a page count on the right, a number below: none of it is in the text."""
    sheet.line(60, 40, "Annual report", 8)
    sheet.line(535, 40, "Page 7 of 12", 8, right=True)
    sheet.paragraph("one", plain(120, 1), 60, 70, 475)
    sheet.paragraph("two", plain(120, 2), 60, 300, 475)
    sheet.line(290, 815, "7", 9)


def three_columns(sheet: Typeset) -> None:
    sheet.paragraph("title", plain(12, 9), LEFT, 40, 495, 16)
    for number, x in enumerate((50, 220, 390)):
        foot = sheet.paragraph(f"{number} above", plain(60, number), x, 100, 150, 9)
        sheet.paragraph(f"{number} below", plain(60, number + 4), x, foot + 9, 150, 9)


def arabic(sheet: Typeset) -> None:
    face = mpl_face()
    sheet.paragraph("one", turns(ARABIC, 50, 1), 60, 60, 475, 12, face, right=True)
    sheet.paragraph("two", turns(ARABIC, 50, 5), 60, 250, 475, 12, face, right=True)


def arabic_in_two_columns(sheet: Typeset) -> None:
    """Read from the right column to the left."""
    face = mpl_face()
    sheet.paragraph("right", turns(ARABIC, 80, 1), RIGHT, 60, COLUMN, 12, face, right=True)
    sheet.paragraph("left", turns(ARABIC, 80, 5), LEFT, 60, COLUMN, 12, face, right=True)


def hebrew(sheet: Typeset) -> None:
    face = mpl_face()
    sheet.paragraph("one", turns(HEBREW, 50, 1), 60, 60, 475, 12, face, right=True)
    sheet.paragraph("two", turns(HEBREW, 50, 5), 60, 250, 475, 12, face, right=True)


def chinese(sheet: Typeset) -> None:
    sheet.paragraph("one", CHINESE * 3, 60, 60, 475, 12, "cjk", glue="")
    sheet.paragraph("two", CHINESE[::-1] * 3, 60, 250, 475, 12, "cjk", glue="")


def chinese_in_three_columns(sheet: Typeset) -> None:
    for number, x in enumerate((50, 220, 390)):
        text = (CHINESE[number * 7 :] + CHINESE[: number * 7]) * 4
        sheet.paragraph(str(number), text[:-3], x, 60, 150, 10, "cjk", glue="")


def mixed_scripts(sheet: Typeset) -> None:
    foot = sheet.paragraph("latin", plain(50, 1), 60, 60, 475)
    foot = sheet.paragraph("chinese", CHINESE * 2, 60, foot + 14, 475, 12, "cjk", glue="")
    foot = sheet.paragraph("hebrew", turns(HEBREW, 40, 5), 60, foot + 14, 475, 12, mpl_face(), right=True)
    sheet.paragraph("more latin", plain(50, 2), 60, foot + 14, 475)


PLAIN_CAN = [
    ruled_table,
    open_table,
    table_written_by_column,
    table_across_two_columns,
    caption_under_a_figure,
    caption_beside_a_figure,
    figure_across_two_columns,
    footnotes,
    footnote_of_a_column,
    header_and_footer,
    arabic,
    arabic_in_two_columns,
    hebrew,
    chinese,
    chinese_in_three_columns,
    mixed_scripts,
]
PLAIN_CANNOT = [
    table_of_two_columns,
    table_in_the_left_column,
    pairs_in_the_left_column,
    table_in_the_right_column,
    caption_of_three_words,
    figure_in_a_column,
    three_columns,
]


def regions_of(path: Path, read: Read, layout: Layout) -> list[TextRegion]:
    content = read(path)
    words = visible_words(content.image, content.boxes, content.texts)
    found = find_regions(content.image, words, (LEAST, 200), by_line=False, layout=layout)
    return [one.region for one in found]


def faults(sheet: Typeset, regions: Sequence[TextRegion]) -> list[str]:
    """What is wrong: a region that is no part of one flow, flows out of order, text of a flow that is missing."""
    flows = [(name, clean_text(text)) for name, text in sheet.flows if tokens(text) >= LEAST]
    found: list[str] = []
    read = {name: "" for name, _ in flows}
    order = [name for name, _ in flows]
    places = []
    for region in regions:
        own = [name for name, text in flows if region.text in text]
        if len(own) != 1:
            found.append(f"of {len(own)} flows: {region.text[:80]}")
            continue
        read[own[0]] += region.text
        places.append(order.index(own[0]))
    if places != sorted(places):
        found.append(f"read in the order {[order[place] for place in places]}")
    found += [f"{name} is not whole" for name, text in flows if read[name].replace(" ", "") != text.replace(" ", "")]
    return found


def drawn(draw: Draw, folder: Path) -> tuple[Typeset, Path]:
    document = pymupdf.open()
    sheet = new_page(document)
    draw(sheet)
    document.save(folder / "page.pdf")
    return sheet, folder / "page.pdf"


@pytest.mark.parametrize("draw", [*PLAIN_CAN, *PLAIN_CANNOT])
def test_columns_keep_flows_apart_and_in_order(draw: Draw, tmp_path: Path, read: Read) -> None:
    sheet, path = drawn(draw, tmp_path)
    assert faults(sheet, regions_of(path, read, "columns")) == []


@pytest.mark.parametrize("draw", PLAIN_CAN)
def test_plain_keeps_flows_apart_and_in_order(draw: Draw, tmp_path: Path, read: Read) -> None:
    sheet, path = drawn(draw, tmp_path)
    assert faults(sheet, regions_of(path, read, "plain")) == []


@pytest.mark.parametrize("draw", PLAIN_CANNOT)
def test_what_plain_cannot_read_is_known(draw: Draw, tmp_path: Path, read: Read) -> None:
    """The documents say so. When this fails, they and ``layout`` have to change."""
    sheet, path = drawn(draw, tmp_path)
    assert faults(sheet, regions_of(path, read, "plain"))


@pytest.mark.parametrize("layout", ["plain", "columns"])
def test_text_on_its_side_is_never_a_label(tmp_path: Path, read: Read, layout: Layout) -> None:
    """Rows of a page that is turned would take a word of every line; a stamp up the margin is left out alone."""

    def page_on_its_side(sheet: Typeset) -> None:
        sheet.paragraph("body", plain(120, 1), 60, 60, 475)
        sheet.page.set_rotation(90)

    def stamp(sheet: Typeset) -> None:
        sheet.paragraph("body", plain(120, 1), 60, 60, 475)
        sheet.page.insert_text((40, 500), "archive:2104.01234v1 [subject] third version", fontsize=16, rotate=90)

    _, path = drawn(page_on_its_side, tmp_path)
    assert regions_of(path, read, layout) == []
    sheet, path = drawn(stamp, tmp_path)
    assert faults(sheet, regions_of(path, read, layout)) == []


def test_captions_are_told_from_text_about_them() -> None:
    captions = [
        "Figure 3: Loss",
        "Fig. 2. Two runs",
        "TABLE IV. Results",
        "Abb. 7: Fluss",
        "图1：结构",
        "Рис. 2. Река",
        "Table 5",
    ]
    others = ["Figure 3 shows the loss", "Tables are set apart", "Table of contents", "The figure 3: no", "图书馆"]
    assert [starts_caption(text) for text in captions] == [True] * len(captions)
    assert [starts_caption(text) for text in others] == [False] * len(others)
