"""The same stage as Ray tasks: the sandboxes start inside Ray workers and the bytes are those of the plain loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymupdf

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.documents.build import PageJob, build_page_unit
from pipelines.documents.config import DocumentSettings
from pipelines.documents.plan import Span, plan_pages
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
    compared = 0
    plan = json.loads(artifact.path("plan.json").read_text())
    for unit in plan["units"]:
        spans = []
        for span in unit["spans"]:
            if span["verdict"] is None:
                path = folder / span["source"]
                split = unit["unit"].rpartition("-")[0]
                item = SourceItem(str(path), span["source"], path.stat().st_size, span["sha256"], split)
                spans.append(Span(item, span["first"], span["last"]))
        if len(spans) == len(unit["spans"]):
            (page_unit,) = plan_pages(spans, 10_000, 1)
            receipt = build_page_unit(PageJob(page_unit, settings, str(tmp_path / unit["unit"])))
            made = tmp_path / unit["unit"] / receipt["files"][0]
            assert made.read_bytes() == artifact.path(f"shards/{unit['unit']}.tar").read_bytes()
            compared += 1
    assert compared
