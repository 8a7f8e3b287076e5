"""Speed must not change samples: what is drawn for a fixed page is what it was when this digest was written.

The JSON of a sample (regions, texts, levels, operators, strengths) depends on the ink check, the layout, the seeds and
NumPy's streams; pixels are compared with plain definitions in test_ink and test_operators, because the last bit of a
float may differ between processors."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

from benchmarks.pages import make_pdfs
from pipelines.core.sandbox import close_sandboxes
from pipelines.documents.build import PageJob, build_page_unit
from pipelines.documents.config import DocumentShards
from pipelines.documents.plan import Bounds, Span, plan_pages
from pipelines.shards.plan import SourceItem


def test_a_fixed_page_gets_the_draws_it_always_got(tmp_path: Path) -> None:
    (path,) = make_pdfs(tmp_path / "in", files=1, pages=3)
    item = SourceItem(str(path), "a.pdf", 1, "5a" * 32, "train")
    settings = DocumentShards(dpi=100, seed=3, ocr=False, views_per_page=2)
    try:
        (unit,) = plan_pages([Span(item, 0, 3)], Bounds(10_000, 10_000, 1 << 29, 1_000_000), 2)
        receipt = build_page_unit(PageJob(unit, settings), tmp_path)
    finally:
        close_sandboxes()
    assert receipt["counts"]["ok"] == 6
    drawn = []
    with tarfile.open(tmp_path / receipt["files"][0]) as tar:
        for member in tar:
            if member.name.endswith(".json"):
                sample = json.load(tar.extractfile(member))  # type: ignore[arg-type]
                regions = [
                    [r["index"], r["bbox"], r["text"], r["level"], [[o["name"], o["strength"]] for o in r["operators"]]]
                    for r in sample["meta"]["regions"]
                ]
                drawn.append([member.name, regions])
    assert all(regions for _, regions in drawn)
    digest = hashlib.sha256(json.dumps(drawn).encode()).hexdigest()
    assert digest == "e73561b12dc325f1ef2ecfee46d43d0e5fbed9dd9997636dd919df4206d738f4"
