"""Files made to hang the engine, to crash it or to eat its memory, with the real engines in the real sandbox: the wall
time is within pages x deadline, only the pages that harm are lost, and every planned page has a row."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hostile import HARMS, among_good_pages, deep_states, nested_forms, nested_patterns, only_harm, shading_mesh
from stage_runs import run_stage_inprocess

from cookhouse.stages.documents import DocumentShards, build_document_shards
from pipelines.shards.manifest import Row, read_manifest

START_S = 5.0  # of a child on a loaded machine; 0.3 s alone
GOOD = 11  # pages before and after the one that harms: 23 deadlines for a page that costs four, or twenty when starved
ALL_HARM = 64  # pages; three are tried
HARMED = {
    "timeout",
    "crash",
    "oom",
    "render",
    "empty_text",
    "policy",
}  # policy: drawn, taken for a scan, and OCR is off


def build(files: Mapping[str, bytes], folder: Path, engine: str, deadline_s: float) -> dict[tuple[str, int], Row]:
    """Rows by file and page of a stage run over ``files``, after the checks that hold for every run."""
    source = folder / "in"
    source.mkdir()
    for name, data in files.items():
        (source / name).write_bytes(data)
    config = DocumentShards(
        source=str(source),
        engine=engine,  # type: ignore[arg-type]
        ocr=False,
        dpi=72,
        max_pixels=300_000,
        page_deadline_s=deadline_s,
        memory_bytes=1 << 30,
        max_quarantine_share=1.0,
    )
    started = time.monotonic()
    artifact = run_stage_inprocess(build_document_shards, config, {}, folder / "store")
    took = time.monotonic() - started
    stats = artifact.stats
    rows = {(row.source, row.item): row for path in artifact.glob("manifest/*.parquet") for row in read_manifest(path)}
    assert stats["planned"] == len(rows) == stats["ok"] + stats["filtered"] + stats["quarantined"] == stats["pages"]
    starts = 2 + 2 * sum(
        row.category in ("timeout", "crash", "oom") and "given up" not in (row.reason or "") for row in rows.values()
    )
    assert took <= stats["pages"] * deadline_s + starts * START_S
    return rows


def check_one_page_lost(rows: Mapping[tuple[str, int], Row], name: str) -> None:
    lost = {page: row.category for (file, page), row in rows.items() if file == name and row.status != "ok"}
    assert list(lost) in ([GOOD], []), f"{name}: {lost}"
    assert set(lost.values()) <= HARMED, f"{name}: {lost}"
    assert sum(file == name for file, _ in rows) == 2 * GOOD + 1


def test_a_page_that_hangs_costs_itself_and_a_file_of_them_ends(tmp_path: Path, engine: str) -> None:
    """Squares drawn 12^12 times on one of 23 pages; and 64 pages of patterns in patterns in patterns."""
    files = {
        "forms.pdf": among_good_pages(nested_forms(), GOOD, GOOD),
        "patterns.pdf": only_harm(nested_patterns(), ALL_HARM),
    }
    rows = build(files, tmp_path, engine, deadline_s=0.5)
    check_one_page_lost(rows, "forms.pdf")
    assert rows["forms.pdf", GOOD].category in ("timeout", "crash", "oom")
    told = [rows["patterns.pdf", page] for page in range(ALL_HARM)]
    assert {row.category for row in told} == {"timeout"}
    assert [page for page, row in enumerate(told) if "given up" in (row.reason or "")] == list(range(3, ALL_HARM))


@pytest.mark.slow
def test_every_kind_of_harm_costs_its_page(tmp_path: Path, engine: str) -> None:
    files = {f"{name}.pdf": among_good_pages(harm(), GOOD, GOOD) for name, harm in HARMS.items()}
    files |= {
        f"all-{harm.__name__}.pdf": only_harm(harm(), ALL_HARM) for harm in (nested_forms, deep_states, shading_mesh)
    }
    rows = build(files, tmp_path, engine, deadline_s=0.5)
    for name in HARMS:
        check_one_page_lost(rows, f"{name}.pdf")
    assert {row.source for row in rows.values()} == set(files)
    hung = {row.source for row in rows.values() if row.category in ("timeout", "crash", "oom")}
    assert len(hung) >= 5, f"these files are not hostile enough: {hung}"
