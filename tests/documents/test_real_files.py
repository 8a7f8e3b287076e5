"""The real files of the shared data folder: damaged, locked, endless, empty ones among them. Each ends in a row."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from stage_runs import run_stage_inprocess

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.shards.manifest import read_manifest

SHARED = Path(os.environ.get("COOKHOUSE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
EXPECTED = {
    "derived__encrypted-aes256.pdf": "encrypted",
    "derived__garbage.pdf": "parse",
    "derived__html-error-page.pdf": "parse",
    "derived__zero-byte.pdf": "parse",
    "derived__zero-pages.pdf": "empty",
    "derived__wrong-count.pdf": "parse",
    "derived__huge-page.pdf": "empty_text",
    "derived__image-bomb.pdf": "empty_text",
}
PDFIUM_SAYS = {"derived__wrong-count.pdf": "policy"}
"""Where PDFium sees something else: it believes a count of 100,000 pages."""


def test_every_real_file_ends_in_a_row(tmp_path: Path, engine: str) -> None:
    folder = SHARED / "data" / "documents"
    if not folder.is_dir():
        pytest.skip("documents of the shared data is not here")
    config = DocumentShards(source=str(folder), engine=engine, ocr=False, dpi=72, max_pixels=400_000)  # type: ignore[arg-type]
    started = time.monotonic()
    artifact = run_stage_inprocess(build_document_shards, config, {}, tmp_path)
    assert time.monotonic() - started < artifact.stats["pages"] * config.page_deadline_s
    rows = [row for path in artifact.glob("manifest/*.parquet") for row in read_manifest(path)]
    assert {row.source for row in rows} == {path.name for path in folder.iterdir() if path.suffix == ".pdf"}
    assert len({row.key for row in rows}) == len(rows)
    expected = EXPECTED | (PDFIUM_SAYS if engine == "pypdfium2" else {})
    for name, category in expected.items():
        assert {row.category for row in rows if row.source == name} == {category}, name
    assert sum(row.status == "ok" for row in rows) > 450
