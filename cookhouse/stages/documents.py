"""``documents``: PDF pages to shards of corruption samples. In: ``sources`` (the sample corpus) or ``source`` (your
files). Out: shards, manifests with a row for every planned page and view, ``plan.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cookhouse.stages.parallel import map_units
from cookhouse.stages.sharding import list_inputs, run_units, shard_stats
from pipelines.core.identity import Runtime, Source
from pipelines.documents.config import DocumentSettings
from pipelines.workflow.stage import Attempt, Inputs, stage

PROBE_FILES = 200  # files one probe task opens


class DocumentShards(DocumentSettings):
    """Settings of ``pipelines.documents``, and where the files are."""

    source: Source[str | None] = None
    workers: Runtime[int] = 2


def document_tools(config: DocumentShards) -> Mapping[str, str]:
    """OCR models and JPEG encoder: they decide bytes and are not packages with one version."""
    from pipelines.documents.ocr import models_digest
    from pipelines.documents.sample import jpeg_encoder

    folders = (config.ocr_detection_model_dir, config.ocr_recognition_model_dir)
    return {"ocr": models_digest(*folders) if config.ocr else "off", "jpeg": jpeg_encoder()}


@stage(
    "documents",
    code_version=1,
    optional_inputs=("sources",),
    replaces={"source": "sources"},
    engines=("pymupdf", "numpy", "pillow", "webdataset", "pyarrow"),
    deterministic="bytes",
    tool_digest=document_tools,
    needs="data",
)
def build_document_shards(config: DocumentShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Count pages, plan units, build them, close the books."""
    from pipelines.documents.build import SUFFIXES, PageJob, build_page_unit, close_sandboxes, merge_tallies
    from pipelines.documents.plan import plan_pages

    listing = list_inputs(inputs, "documents")
    items = [listing.item(name, config.split_seed) for name in listing.names(SUFFIXES)[: out.limit]]
    settings = DocumentSettings(**config.model_dump(exclude={"source", "workers"}))
    try:
        spans = _probe(items, settings, out, config.workers)
        units = plan_pages(spans, config.unit_cost, config.views_per_page)
        jobs = [PageJob(unit, settings, str(out.dir)) for unit in sorted(units, key=lambda unit: -unit.cost)]
        receipts = run_units(build_page_unit, jobs, out, config.workers)
    finally:
        close_sandboxes()
    regions = merge_tallies(receipts, "regions")
    stats = shard_stats(receipts, "documents", len(items), config.max_quarantine_share)
    return {
        **stats,
        "pages": sum(span.pages for span in spans),
        "regions": regions,
        "routes": merge_tallies(receipts, "routes"),
        "categories": merge_tallies(receipts, "categories"),
        "main_metric": ["regions", sum(regions.values())],
    }


def _probe(items: list[Any], settings: DocumentSettings, out: Attempt, workers: int) -> list[Any]:
    """Spans of all files. The page counts are committed as the unit ``plan``, so that a later attempt plans the same
    units whatever the machine was doing when files were opened."""
    from pipelines.documents.build import ProbeJob, probe_files
    from pipelines.documents.plan import Verdict, plan_pages, spans_of, units_record

    if "plan" in out.units():
        kept = json.loads(out.path("plan.json").read_text(encoding="utf-8"))["files"]
        pages = {name: found if isinstance(found, int) else Verdict(**found) for name, found in kept.items()}
        return spans_of(items, pages, settings.max_pages)
    pages = {}
    jobs = [ProbeJob(tuple(items[at : at + PROBE_FILES]), settings) for at in range(0, len(items), PROBE_FILES)]
    for _, found in map_units(probe_files, jobs, workers):
        pages.update(found)
    spans = spans_of(items, pages, settings.max_pages)
    plan = {
        "files": {name: found if isinstance(found, int) else found.__dict__ for name, found in sorted(pages.items())},
        "units": units_record(plan_pages(spans, settings.unit_cost, settings.views_per_page)),
    }
    (out.dir / "plan.json").write_text(json.dumps(plan, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    out.commit_unit("plan", {"files": ["plan.json"]})
    return spans
