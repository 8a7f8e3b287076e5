"""``documents``: PDF pages to shards of corruption samples. In: ``sources`` (the sample corpus) or ``source`` (your
files). Out: shards, manifests with a row for every planned page and view, ``plan.parquet``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from cookhouse.stages.ocr_pool import ocr_pool
from cookhouse.stages.sharding import list_inputs, run_units, shard_stats
from pipelines.core.cpus import FOLLOWS, Room
from pipelines.core.executor import Resources
from pipelines.core.identity import Runtime, Source
from pipelines.core.sandboxes import close_sandboxes
from pipelines.documents.config import DocumentSettings
from pipelines.workflow.stage import Attempt, Inputs, stage

if TYPE_CHECKING:
    from pipelines.documents.plan import PageUnit
    from pipelines.shards.plan import SourceItem

PLAN = "plan.parquet"
PROBE_FILES = 200  # files one probe task opens


class DocumentShards(DocumentSettings):
    """Settings of ``pipelines.documents``, and where the files are. Workers that follow the CPUs leave alone those that OCR
    actors hold."""

    source: Source[str | None] = None
    workers: Runtime[int] = FOLLOWS

    def sized(self, room: Room) -> Self:
        left = max(1, int(room.cpus - self._held))
        return self.model_copy(update={"workers": left}) if self.workers == FOLLOWS else self

    def cpus(self) -> float:
        return self.workers + self._held

    @property
    def _held(self) -> float:
        return self.ocr_actors * self.ocr_cpus if self.ocr else 0.0


def document_tools(config: DocumentShards) -> Mapping[str, str]:
    """Page engine, OCR models, JPEG encoder, and what the filters use: each decides bytes, and only those chosen do."""
    from pipelines.documents.ocr import models_digest, package_version
    from pipelines.documents.sample import jpeg_encoder

    folders = (config.ocr_detection_model_dir, config.ocr_recognition_model_dir)
    tools = {
        config.engine: package_version(config.engine),
        "ocr": models_digest(config.ocr_engine, *folders) if config.ocr else "off",
        "jpeg": jpeg_encoder(),
    }
    if config.filters.near_duplicates != "off":
        tools["datasketch"] = package_version("datasketch")
    if config.filters.languages:
        tools["py3langid"] = package_version("py3langid")
    return tools


@stage(
    "documents",
    code_version=3,
    optional_inputs=("sources",),
    replaces={"source": "sources"},
    engines=("numpy", "pillow", "webdataset", "pyarrow"),
    deterministic="bytes",
    tool_digest=document_tools,
    needs="data",
)
def build_document_shards(config: DocumentShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Count pages, plan units, build them, close the books."""
    from pipelines.documents.build import SUFFIXES, PageJob, build_page_unit, merge_tallies

    listing = list_inputs(inputs, "documents")
    items = [listing.item(name, config.split_seed) for name in listing.names(SUFFIXES)[: out.limit]]
    settings = DocumentSettings(**config.model_dump(exclude={"source", "workers"}))
    try:
        units = _planned(items, settings, out, config.workers)
        with ocr_pool(settings, out.executor) as ocr:
            ordered = sorted(units, key=lambda unit: -unit.cost)
            jobs = [PageJob(unit, settings, ocr) for unit in ordered]
            receipts = run_units(build_page_unit, jobs, out, config.workers)
    finally:
        close_sandboxes()
    regions = merge_tallies(receipts, "regions")
    stats = shard_stats(receipts, "documents", len(items), config.max_quarantine_share)
    return {
        **stats,
        "pages": sum(span.pages for unit in units for span in unit.spans),
        "regions": regions,
        "routes": merge_tallies(receipts, "routes"),
        "categories": merge_tallies(receipts, "categories"),
        "main_metric": ["regions", sum(regions.values())],
    }


def _planned(items: list[SourceItem], settings: DocumentSettings, out: Attempt, workers: int) -> list[PageUnit]:
    """The units. They are committed as the unit ``plan``, so that a later attempt works on the same ones whatever the
    machine was doing when files were opened."""
    from pipelines.documents.plan import Bounds, plan_pages, spans_of
    from pipelines.documents.plan_file import read_plan, write_plan
    from pipelines.documents.probe import ProbeJob, mark_similar, probe_files

    if "plan" in out.units():
        return read_plan(out.path(PLAN), items)
    found: dict[str, Any] = {}
    jobs = [ProbeJob(tuple(items[at : at + PROBE_FILES]), settings) for at in range(0, len(items), PROBE_FILES)]
    for done, (_, files) in enumerate(out.executor.map(probe_files, jobs, Resources(), at_once=workers), 1):
        found.update(files)
        out.events.progress(done, len(jobs), "groups of files opened")
    items, pages = mark_similar(items, found, settings)
    bounds = Bounds(settings.unit_cost, settings.unit_samples, settings.unit_bytes, settings.max_pixels)
    units = plan_pages(spans_of(items, pages, settings.max_pages), bounds, settings.views_per_page)
    write_plan(out.dir / PLAN, units)
    out.commit_unit("plan", {"files": [PLAN]})
    return units
