from __future__ import annotations

import hashlib
from pathlib import Path

import pymupdf
import pytest

from pipelines.images.words import word_split
from toy.corpus.pages import PAGES, SCANS, make_scans, write_pages


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    folder = tmp_path_factory.mktemp("pages")
    return folder, write_pages(folder, 5)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "documents").iterdir()}


def test_same_seed_same_bytes(corpus: tuple[Path, list[dict]], tmp_path: Path) -> None:
    write_pages(tmp_path, 5)
    assert digests(tmp_path) == digests(corpus[0])


def test_every_file_has_a_row_and_the_counts_are_as_promised(corpus: tuple[Path, list[dict]]) -> None:
    folder, rows = corpus
    assert {row["file"] for row in rows} == {f"documents/{name}" for name in digests(folder)}
    assert sum(sum(counts) for _, *counts in PAGES.values()) >= 44
    assert sum(SCANS.values()) == 6
    assert sum(row["family"] == "bad" for row in rows) == 3
    pages = sum(len(pymupdf.open(folder / row["file"])) for row in rows if row["family"] == "page")
    assert pages == sum(sum(counts) for _, *counts in PAGES.values())


def test_scans_hold_nothing_but_a_picture(corpus: tuple[Path, list[dict]]) -> None:
    for split in SCANS:
        for page in pymupdf.open(corpus[0] / f"documents/scans-{split}.pdf"):
            assert page.get_text() == ""
            assert len(page.get_images()) == 1


def test_test_words_are_held_out(corpus: tuple[Path, list[dict]]) -> None:
    for split in ("train", "test"):
        words = [word for scan in make_scans(5, split) for line in scan.lines for word in line.split()]
        text = "".join(page.get_text() for page in pymupdf.open(corpus[0] / f"documents/columns-{split}.pdf"))
        words += [word for word in text.lower().replace(".", "").split() if word.isalpha()]
        assert {word_split(word) for word in words} == {split}


def test_the_scripts_pages_have_four_scripts(corpus: tuple[Path, list[dict]]) -> None:
    text = "".join(page.get_text() for page in pymupdf.open(corpus[0] / "documents/scripts-train.pdf"))
    assert "\ufffd" not in text
    for first, last in (("a", "z"), ("α", "ω"), ("а", "я"), ("一", "鿿"), ("ぁ", "ん")):
        assert sum(first <= character <= last for character in text) > 100
