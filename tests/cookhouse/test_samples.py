"""The contact sheet of a data step: self-contained, every shown sample framed by level, the rows left out below."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pymupdf
import pytest
from click.testing import CliRunner
from stage_runs import run_stage_inprocess

from cookhouse.cli.main import cli
from cookhouse.pages.samples import render
from cookhouse.preview.cards import CARDS, Card, Line, Picture
from cookhouse.stages.captions import CaptionShards, build_caption_shards
from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.workflow.artifact import Artifact
from pipelines.workflow.store import read_record

TEXT = "A <b>bold</b> claim about the harbour, the mill and the lamp that nobody has ever read to its very end. "


class Tags(HTMLParser):
    """Every tag opened is closed, in order."""

    VOID = ("meta", "img", "input", "rect", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in self.VOID or tag == "rect":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("in")
    document = pymupdf.open()
    for number in range(4):
        page = document.new_page(width=420, height=595)
        if number != 2:
            for row in range(6):
                page.insert_textbox((40, 40 + 90 * row, 380, 120 + 90 * row), f"{number}.{row} {TEXT}", fontsize=11)
    document.save(folder / "a.pdf")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing follows")
    config = DocumentShards(source=str(folder), max_quarantine_share=1.0)
    return run_stage_inprocess(build_document_shards, config, {}, tmp_path_factory.mktemp("store"))


def sheet(*words: str) -> str:
    result = CliRunner().invoke(cli, ["samples", "preview", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_sheet_of_documents(built: Artifact, tmp_path: Path) -> None:
    out = tmp_path / "sheet.html"
    said = sheet(str(built.root), "-n", "2", "-o", str(out))
    assert "2 samples" in said
    page = out.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert not tags.open
    assert tags.counts["article"] == 2
    assert tags.counts["img"] == 4, "the sample and its source page"
    assert set(re.findall(r'rect class="(\w+)"', page)) <= {"low", "moderate", "high"}
    assert tags.counts["rect"] == len(re.findall(r'class="chip full (?:low|moderate|high)">\d', page))
    assert "&lt;b&gt;bold&lt;/b&gt; claim" in page, "text of documents is never markup"
    assert "<b>bold</b>" not in page
    assert "the page is blank" in page and "broken.pdf" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page), "nothing is fetched"


def test_the_same_seed_shows_the_same_samples_and_another_one_others(built: Artifact, tmp_path: Path) -> None:
    pages = []
    for number, seed in enumerate(("0", "0", "1", "2", "3")):
        out = tmp_path / f"{number}.html"
        sheet(str(built.root), "-n", "1", "--seed", seed, "-o", str(out))
        pages.append(re.findall(r"<h2><b>1</b> (.*?)</h2>", out.read_text())[0])
    assert pages[0] == pages[1]
    assert len(set(pages)) > 1


def test_pages_stored_clean_are_drawn_for_the_sheet(built: Artifact, tmp_path: Path) -> None:
    record = read_record(built.root)
    assert record is not None
    config = DocumentShards(source=record.data["config"]["source"], form="online", max_quarantine_share=1.0)
    online = run_stage_inprocess(build_document_shards, config, {}, tmp_path / "store")
    out = tmp_path / "sheet.html"
    sheet(str(online.root), "-n", "3", "-o", str(out))
    page = out.read_text()
    assert "stored clean, drawn here" in page
    assert page.count("<rect") >= 3


def test_a_step_is_found_by_name_and_a_typo_is_told(built: Artifact, tmp_path: Path) -> None:
    root = f"storage.root={built.root.parent.parent}"
    sheet("documents", root, "-o", str(tmp_path / "a.html"))
    from cookhouse.cli.main import main

    assert main(["samples", "preview", "documets", root]) == 2
    assert main(["samples", "preview", "documents", root, "--tag", "nothing"]) == 1


def test_kinds_without_a_card_are_shown_as_conversations(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        Image.new("RGB", (80, 60), (200, 40, 40)).save(folder / f"{name}.png")
    rows = [{"file": f"{name}.png", "caption": f"A red square called {name}"} for name in "ab"]
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "caption" not in CARDS
    config = CaptionShards(source=str(folder))
    artifact = run_stage_inprocess(build_caption_shards, config, {}, tmp_path / "store")
    out = tmp_path / "sheet.html"
    sheet(str(artifact.root), "-o", str(out))
    tags = Tags()
    tags.feed(out.read_text())
    assert not tags.open
    assert tags.counts["article"] == artifact.stats["ok"]


@pytest.mark.parametrize("strip", [False, True])
def test_a_family_that_brings_its_own_card_needs_no_other_code(strip: bool) -> None:
    frames = (Picture("0.0 s", b"\xff\xd8", (4, 4)),) * 2
    card = Card("clip", ("2 frames",), frames, (Line("assistant", "assistant", "", "yes"),), strip)
    tags = Tags()
    tags.feed(render("t", ("a",), [card], []))
    assert not tags.open
    assert tags.counts["figure"] == 2
    assert "input" not in tags.counts, "no boxes, no switch for them"
