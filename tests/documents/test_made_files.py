"""Files such as a crawl brings, made here: papers, forms and reports in the ways tools save them, and the ways files
break. Both engines give every file its row, and the readable ones the text they were made of."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pymupdf
from hostile import among_good_pages, good_page, image_bomb, pdf
from stage_runs import run_stage_inprocess
from typeset import Typeset, new_page, plain

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.shards.manifest import read_manifest


def paper(sheet: Typeset) -> None:
    """A title over two columns, a figure with its caption, a link."""
    sheet.paragraph("title", plain(9, 1), 50, 40, 495, 16)
    foot = sheet.paragraph("left", plain(90, 2), 50, 110, 235)
    foot = sheet.figure(50, foot + 10, 235, 110)
    sheet.paragraph("caption", "Figure 1: " + plain(14, 3), 50, foot + 6, 235, 9)
    sheet.paragraph("right", plain(150, 4), 310, 110, 235)
    sheet.page.insert_link({"kind": pymupdf.LINK_URI, "from": pymupdf.Rect(50, 40, 90, 60), "uri": "http://localhost/"})


def report(sheet: Typeset) -> None:
    """Paragraphs round a ruled table."""
    foot = sheet.paragraph("before", plain(70, 5), 60, 60, 475)
    rows = [[f"name{r}" if c == 0 else f"{r},{c}07" for c in range(4)] for r in range(7)]
    foot = sheet.table("table", rows, 60, foot + 14, [118] * 4)
    sheet.paragraph("after", plain(70, 6), 60, foot + 18, 475)


def form(sheet: Typeset) -> None:
    """Text, a filled-in field and a highlight."""
    sheet.paragraph("body", plain(60, 7), 60, 60, 475)
    field = pymupdf.Widget()
    field.rect, field.field_type, field.field_name = pymupdf.Rect(60, 600, 260, 620), pymupdf.PDF_WIDGET_TYPE_TEXT, "f"
    sheet.page.add_widget(field)
    sheet.page.add_highlight_annot((60, 60, 200, 72))


KINDS: tuple[Callable[[Typeset], None], ...] = (paper, report, form)
SAVED = {
    "plain.pdf": {},
    "packed.pdf": {"deflate": True, "garbage": 4},
    "objects.pdf": {"use_objstms": 1, "deflate": True},
    "readable.pdf": {"pretty": True, "expand": 255, "ascii": True},
    "owner-only.pdf": {"encryption": pymupdf.PDF_ENCRYPT_AES_256, "owner_pw": "o", "user_pw": ""},
}
PAGES = len(KINDS)


def save(path: Path, kinds: tuple[Callable[[Typeset], None], ...], **options: object) -> list[str]:
    """Write one page a kind. Returns the words of each page, blanks left out, in reading order."""
    document = pymupdf.open()
    texts = []
    for kind in kinds:
        sheet = new_page(document)
        kind(sheet)
        texts.append("".join("".join(text.split()) for _, text in sheet.flows))
    document.set_metadata({"title": path.stem})  # no two files are the same bytes
    document.save(path, **options)
    return texts


def deep_tree(depth: int = 3000) -> bytes:
    """One page below thousands of page tree nodes."""
    nodes = {4000 + level: b"<</Type/Pages/Kids[%d 0 R]/Count 1>>" % (4001 + level) for level in range(depth)}
    nodes[4000 + depth] = b"<</Type/Page/MediaBox[0 0 200 200]/Parent %d 0 R>>" % (3999 + depth)
    return pdf([good_page(0)], nodes).replace(b"/Kids[10 0 R]", b"/Kids[4000 0 R]")


def broken(whole: bytes) -> dict[str, bytes]:
    """Files that hold nothing to read, or something a reader has to look for."""
    two = pdf([good_page(0), good_page(1)], {})
    return {
        "zero-byte.pdf": b"",
        "error-page.pdf": b"<html><body>404 not found</body></html>",
        "garbage.pdf": b"%PDF-1.7\n" + bytes(range(256)) * 40,
        "cut.pdf": whole[:300],
        "zero-pages.pdf": pdf([], {}),
        "wrong-count.pdf": two.replace(b"/Count 2", b"/Count 99999999"),
        "deep-tree.pdf": deep_tree(),
        "image-bomb.pdf": among_good_pages(image_bomb(), 1, 1),
        "huge-page.pdf": two.replace(b"0 0 420 595", b"0 0 420000 595000"),
        "tail-cut.pdf": two[: two.rindex(b"startxref")],
        "junk-first.pdf": b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" * 20 + two,
        "loop.pdf": two.replace(b"/Root 1 0 R", b"/Root 1 0 R/Prev %d" % two.rindex(b"xref\n0 1")),
    }


LOST = {
    "zero-byte.pdf": {"parse"},
    "error-page.pdf": {"parse"},
    "garbage.pdf": {"parse", "empty"},
    "cut.pdf": {"parse", "empty"},
    "zero-pages.pdf": {"empty"},
    "locked.pdf": {"encrypted"},
}
FOUND = ("tail-cut.pdf", "junk-first.pdf", "loop.pdf")


def test_files_of_a_crawl_keep_their_text_or_get_a_reason(tmp_path: Path, engine: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    texts = {name: save(source / name, KINDS, **options) for name, options in SAVED.items()}
    save(source / "locked.pdf", KINDS, encryption=pymupdf.PDF_ENCRYPT_AES_256, owner_pw="o", user_pw="u")
    for name, data in broken((source / "packed.pdf").read_bytes()).items():
        (source / name).write_bytes(data)
    (source / "zz-copy.pdf").write_bytes((source / "packed.pdf").read_bytes())
    config = DocumentShards(
        source=str(source),
        engine=engine,  # type: ignore[arg-type]
        target="parser",  # the whole text of a page is in its sample
        ocr=False,
        dpi=100,
        max_quarantine_share=1.0,
    )
    artifact = run_stage_inprocess(build_document_shards, config, {}, tmp_path / "store")
    rows = [row for path in artifact.glob("manifest/*.parquet") for row in read_manifest(path)]
    assert artifact.stats["planned"] == len(rows) == len({row.key for row in rows})
    assert {row.source for row in rows} == {path.name for path in source.iterdir()}
    told = Counter((row.source, row.status) for row in rows)
    for name in SAVED:
        assert told[name, "ok"] == PAGES, name
    for name in FOUND:
        assert told[name, "ok"] == 2, name
    for name, categories in LOST.items():
        assert {row.category for row in rows if row.source == name} <= categories, name
        assert told[name, "ok"] == 0
    assert told["image-bomb.pdf", "ok"] == 2
    assert told["wrong-count.pdf", "ok"] in (0, 2), "PDFium counts the pages, MuPDF refuses"
    assert [row.category for row in rows if row.source == "zz-copy.pdf"] == ["duplicate"]
    read: dict[tuple[str, int], str] = {}
    for path in artifact.glob("shards/*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    file = tar.extractfile(member)
                    assert file is not None
                    sample = json.load(file)
                    text = "".join(sample["messages"][-1]["content"].split())
                    read[sample["meta"]["source"], sample["meta"]["page"]] = text
    for name, pages in texts.items():
        for page, text in enumerate(pages):
            assert read[name, page] == text, f"{name} page {page}"
