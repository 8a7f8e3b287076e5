"""The same stage as Ray tasks: the sandboxes start inside Ray workers and the bytes are those of the plain loop."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymupdf

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.documents.build import PageJob, build_page_unit
from pipelines.documents.config import DocumentSettings
from pipelines.documents.plan_file import read_plan
from pipelines.shards.plan import SourceItem
from pipelines.workflow.inprocess import run_stage_inprocess


def test_ray_workers_write_the_bytes_of_the_plain_loop(
    ray_session: Any, make_pdf: Callable[..., Path], tmp_path: Path, sentence: str
) -> None:
    def text(page: pymupdf.Page) -> None:
        page.insert_textbox((40, 40, 380, 400), f"{page.number} {sentence * 6}")

    for name in ("in/a.pdf", "in/b.pdf", "in/c.pdf"):
        folder = make_pdf(name, [text] * 3).parent
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 nothing follows")
    config = DocumentShards(source=str(folder), unit_cost=24, max_quarantine_share=1.0)
    artifact = run_stage_inprocess(build_document_shards, config, {}, tmp_path / "store")
    assert artifact.stats["quarantined"] == 1
    settings = DocumentSettings(**config.model_dump(exclude={"source", "workers"}))
    items = [SourceItem(str(path), path.name, path.stat().st_size, "", "train") for path in folder.iterdir()]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    units = read_plan(artifact.path("plan.parquet"), [replace(item, sha256=digests[item.name]) for item in items])
    assert len(units) > 2
    for unit in units:
        receipt = build_page_unit(PageJob(unit, settings, str(tmp_path / "again")))
        for name in receipt["files"]:
            assert (tmp_path / "again" / name).read_bytes() == artifact.path(name).read_bytes()
