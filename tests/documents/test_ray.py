"""The same stage as Ray tasks: the sandboxes start inside Ray workers and the bytes are those of the plain loop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from stage_runs import run_stage_inprocess

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.documents.build import PageJob, build_page_unit
from pipelines.documents.plan import read_plan
from pipelines.shards.plan import SourceItem
from pipelines.workflow.backends.ray_executor import RayExecutor
from toy.corpus.pages import make_scans


def test_ray_workers_write_the_bytes_of_the_plain_loop(
    ray_session: Any, make_pdf: Callable[..., Path], tmp_path: Path, sentence: str
) -> None:
    def text(page: pymupdf.Page) -> None:
        page.insert_textbox((40, 40, 380, 400), f"{page.number} {sentence * 6}")

    for name in ("in/a.pdf", "in/b.pdf", "in/c.pdf"):
        folder = make_pdf(name, [text] * 3).parent
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 nothing follows")
    config = DocumentShards(source=str(folder), unit_cost=24, max_quarantine_share=1.0)
    artifact = run_stage_inprocess(build_document_shards, config, {}, tmp_path / "store", executor=RayExecutor())
    assert artifact.stats["quarantined"] == 1
    items = [SourceItem(str(path), path.name, path.stat().st_size, "", "train") for path in folder.iterdir()]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    units = read_plan(artifact.path("plan.parquet"), [replace(item, sha256=digests[item.name]) for item in items])
    assert len(units) > 2
    for unit in units:
        receipt = build_page_unit(PageJob(unit, config), tmp_path / "again")
        for name in receipt["files"]:
            assert (tmp_path / "again" / name).read_bytes() == artifact.path(name).read_bytes()


@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_changes_no_byte(
    ray_session: Any, make_pdf: Callable[..., Path], tmp_path: Path, sentence: str, workers: int
) -> None:
    def text(page: pymupdf.Page) -> None:
        page.insert_textbox((40, 40, 380, 400), f"{page.number} {sentence * 6}")

    folder = make_pdf("in/a.pdf", [text] * 9).parent
    made = []
    for count in (2, workers):
        config = DocumentShards(source=str(folder), unit_cost=24, views_per_page=2, workers=count)
        store = tmp_path / f"store-{count}"
        artifact = run_stage_inprocess(build_document_shards, config, {}, store, executor=RayExecutor())
        made.append({name: artifact.path(name).read_bytes() for name in artifact.names if name.startswith("shards/")})
    assert len(made[0]) >= 3
    assert made[0] == made[1]


def test_ocr_actors_write_the_bytes_of_ocr_in_the_worker(ray_session: Any, tmp_path: Path) -> None:
    """A pool of one actor with a share of a CPU; page workers send addresses of pages and get lines back."""
    folder = tmp_path / "in"
    folder.mkdir()
    document = pymupdf.open()
    for scan in make_scans(7, "test")[:2]:
        height, width = scan.image.shape[:2]
        picture = pymupdf.Pixmap(pymupdf.csRGB, width, height, scan.image.tobytes(), False)
        page = document.new_page(width=width * 0.6, height=height * 0.6)
        page.insert_image(page.rect, pixmap=picture)
    document.save(folder / "scan.pdf")
    made = []
    for actors in (0, 1):
        config = DocumentShards(
            source=str(folder), ocr_engine="rapidocr", ocr_lines="chosen", ocr_actors=actors, ocr_cpus=0.5, workers=1
        )
        store = tmp_path / f"store-{actors}"
        artifact = run_stage_inprocess(build_document_shards, config, {}, store, executor=RayExecutor())
        assert artifact.stats["ok"] == 2
        assert artifact.stats["routes"] == {"scan": 2}
        made.append({name: artifact.path(name).read_bytes() for name in artifact.names if name.startswith("shards/")})
    assert made[0] == made[1]
