"""Mutated PDFs: each ends in rows with a reason, none is lost, none stops the stage."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pymupdf
import pytest
from mutate import mutate
from stage_runs import run_stage_inprocess

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.shards.manifest import read_manifest

MakePdf = Callable[..., Path]
DEADLINE_S = 3.0


@pytest.fixture
def originals(make_pdf: MakePdf, sentence: str) -> list[bytes]:
    """Plain, compressed, with pictures, with a table of objects in a stream, linear, with forms and links."""
    picture = pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 40, 40), False)
    picture.clear_with(90)

    def text(page: pymupdf.Page) -> None:
        page.insert_textbox((40, 40, 380, 400), sentence * 6)

    def rich(page: pymupdf.Page) -> None:
        text(page)
        page.insert_image((100, 420, 300, 560), pixmap=picture)
        page.insert_link({"kind": pymupdf.LINK_URI, "from": pymupdf.Rect(40, 40, 90, 60), "uri": "http://localhost/"})
        page.add_highlight_annot((40, 40, 200, 60))

    paths = [
        make_pdf("seed/plain.pdf", [text, text]),
        make_pdf("seed/rich.pdf", [rich] * 3, deflate=True),
        make_pdf("seed/objects.pdf", [rich, text], use_objstms=1, deflate=True),
    ]
    return [path.read_bytes() for path in paths]


def fuzz(originals: list[bytes], folder: Path, engine: str, count: int, seed: int) -> None:
    source = folder / "in"
    source.mkdir()
    for number in range(count):
        (source / f"{number:03d}.pdf").write_bytes(mutate(originals, seed, number))
    config = DocumentShards(
        source=str(source),
        engine=engine,  # type: ignore[arg-type]
        ocr=False,
        dpi=50,
        max_pages=500,
        page_deadline_s=DEADLINE_S,
        memory_bytes=1 << 30,
        max_quarantine_share=1.0,
    )
    started = time.monotonic()
    artifact = run_stage_inprocess(build_document_shards, config, {}, folder / "store")
    took = time.monotonic() - started
    rows = [row for path in artifact.glob("manifest/*.parquet") for row in read_manifest(path)]
    stats = artifact.stats
    assert {row.source for row in rows} == {f"{number:03d}.pdf" for number in range(count)}
    assert stats["planned"] == len(rows) == stats["ok"] + stats["filtered"] + stats["quarantined"]
    assert stats["quarantined"] > 0 < stats["ok"], "the mutations neither spare nor spoil everything"
    assert all(re.fullmatch(r"[a-z0-9_-]{1,80}", row.key) for row in rows)
    assert all(row.reason and str(folder) not in row.reason for row in rows if row.status != "ok")
    assert len({row.key for row in rows}) == len(rows)
    # the probe may wait twice for a file, a page for its deadline and thrice that, three pages in a row before giving up
    assert took < count * 3 * 4 * DEADLINE_S


def test_mutants_are_the_same_every_time(originals: list[bytes]) -> None:
    made = [mutate(originals, 1, number) for number in range(20)]
    assert made == [mutate(originals, 1, number) for number in range(20)]
    assert len(set(made)) > 15


def test_a_few_mutants_all_end_in_rows(originals: list[bytes], tmp_path: Path, engine: str) -> None:
    fuzz(originals, tmp_path, engine, 25, seed=11)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", [1, 2])
def test_five_hundred_mutants_all_end_in_rows(originals: list[bytes], tmp_path: Path, engine: str, seed: int) -> None:
    fuzz(originals, tmp_path, engine, 250, seed)
