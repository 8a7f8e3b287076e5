"""``documents``: PDF pages to shards of corruption samples. In: ``sources`` (the sample corpus) or ``source`` (your
files). Out: shards, manifests with a row for every planned page and view, ``plan.parquet``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cookhouse.stages.ocr_pool import ocr_pool
from cookhouse.stages.sharding import corpus_stage, list_inputs, run_units, shard_stats
from pipelines.core.sandbox import close_sandboxes
from pipelines.documents.config import DocumentShards
from pipelines.workflow.stage import Attempt, Inputs

if TYPE_CHECKING:
    from pipelines.documents.plan import PageUnit
    from pipelines.shards.plan import SourceItem

PLAN = "plan.parquet"
PROBE_FILES = 200  # files one probe task opens


def document_tools(config: DocumentShards) -> Mapping[str, str]:
    """Page engine, OCR models, JPEG encoder, and what the filters use: each decides bytes, and only those chosen do."""
    from pipelines.documents.ocr import models_digest, package_version

    folders = (config.ocr_detection_model_dir, config.ocr_recognition_model_dir)
    tools = {
        config.engine: package_version(config.engine),
        "ocr": models_digest(config.ocr_engine, *folders) if config.ocr else "off",
        "jpeg": f"simplejpeg {package_version('simplejpeg')}",
    }
    if config.filters.near_duplicates != "off":
        tools["datasketch"] = package_version("datasketch")
    if config.filters.languages:
        tools["py3langid"] = package_version("py3langid")
    return tools


@corpus_stage(
    "documents",
    code_version=3,
    engines=("numpy", "pillow", "webdataset", "pyarrow"),
    tool_digest=document_tools,
)
def build_document_shards(config: DocumentShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Count pages, plan units, build them, close the books."""
    from pipelines.documents.build import SUFFIXES, PageJob, build_page_unit, merge_tallies

    items = list_inputs(inputs, "documents").items(SUFFIXES, config.split_seed, out.limit)
    try:
        units = _planned(items, config, out)
        with ocr_pool(config, out.executor) as ocr:
            jobs = [PageJob(unit, config, ocr) for unit in sorted(units, key=lambda unit: -unit.cost)]
            receipts = run_units(build_page_unit, jobs, config, out)
    finally:
        close_sandboxes()
    regions = merge_tallies(receipts, "regions")
    return {
        **shard_stats(receipts, config, len(items)),
        "pages": sum(span.pages for unit in units for span in unit.spans),
        "regions": regions,
        "routes": merge_tallies(receipts, "routes"),
        "categories": merge_tallies(receipts, "categories"),
        "main_metric": ["regions", sum(regions.values())],
    }


def _planned(items: list[SourceItem], config: DocumentShards, out: Attempt) -> list[PageUnit]:
    """The units. They are committed as the unit ``plan``, so that a later attempt works on the same ones whatever the
    machine was doing when files were opened."""
    from pipelines.documents.plan import Bounds, plan_pages, read_plan, spans_of, write_plan
    from pipelines.documents.probe import ProbeJob, mark_similar, probe_files

    if "plan" in out.units():
        return read_plan(out.path(PLAN), items)
    found: dict[str, Any] = {}
    jobs = [ProbeJob(tuple(items[at : at + PROBE_FILES]), config) for at in range(0, len(items), PROBE_FILES)]
    for done, (_, files) in enumerate(out.executor.map(probe_files, jobs, config.task, at_once=config.workers), 1):
        found.update(files)
        out.events.progress(done, len(jobs), "groups of files opened")
    items, pages = mark_similar(items, found, config)
    bounds = Bounds(config.unit_cost, config.unit_samples, config.unit_bytes, config.max_pixels)
    units = plan_pages(spans_of(items, pages, config.max_pages), bounds, config.views_per_page)
    write_plan(out.dir / PLAN, units)
    out.commit_unit("plan", {"files": [PLAN]})
    return units
