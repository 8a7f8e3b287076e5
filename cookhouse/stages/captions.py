"""``captions``: captioned images to shards. In: ``sources`` or ``source``: pictures with a table (``captions.jsonl`` or
``captions.parquet``) or sidecars (``{stem}.txt``, ``{stem}.json``), and WebDataset tars of other makers."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cookhouse.stages.sharding import Listing, list_inputs, missing_names, run_units, shard_stats
from pipelines.core.cpus import FOLLOWS
from pipelines.core.executor import Resources
from pipelines.core.identity import Identity, Runtime, Source, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage

if TYPE_CHECKING:
    from pipelines.images.captions import CaptionJob


class CaptionShards(StageConfig):
    """Pictures are kept upright, shrunk to at most ``max_pixels``. Filtered are a side below ``min_side`` pixels, a longer
    side of more than ``max_aspect`` shorter ones, copies (``dedup`` ``exact`` goes by bytes, ``near`` also by a
    perceptual hash over all files, at the price of decoding them twice), and a score below ``min_score``: ``score`` names a
    function ``package.module:function`` of (PIL picture, caption) that returns a number; rename it when it changes, its
    name is what enters the key."""

    source: Source[str | None] = None
    prompt: Identity[str] = "Describe."
    min_side: Identity[int] = 16
    max_pixels: Identity[int] = 1344 * 1344
    most_source_pixels: Identity[int] = 100_000_000
    jpeg_quality: Identity[int] = 95
    max_aspect: Identity[Annotated[float, Field(ge=1)] | None] = None
    dedup: Identity[Literal["exact", "near"]] = "exact"
    score: Identity[str | None] = None
    min_score: Identity[float] = 0.0
    files_per_unit: Identity[int] = 64
    split_seed: Identity[int] = 0
    max_quarantine_share: Runtime[float] = 0.5
    deadline_s: Runtime[float] = 60.0
    memory_bytes: Runtime[int] = 4 << 30
    workers: Runtime[int] = FOLLOWS


@stage(
    "captions",
    code_version=1,
    optional_inputs=("sources",),
    replaces={"source": "sources"},
    engines=("pillow", "pyarrow", "webdataset"),
    deterministic="bytes",
    needs="data",
)
def build_caption_shards(config: CaptionShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Match pictures with their captions, plan units, write them."""
    from pipelines.images.captions import CaptionJob, build_caption_unit, load_score
    from pipelines.images.sources import SIDECARS, SUFFIXES, TAR
    from pipelines.shards.plan import Unit, plan_units

    if config.score is not None:
        load_score(config.score)
    listing = list_inputs(inputs, "images")
    captions = _captions(listing)
    names = listing.names((*SUFFIXES, TAR))
    missing = missing_names(captions, names, out.limit)
    items = [listing.item(name, config.split_seed, SIDECARS) for name in [*names[: out.limit], *missing]]
    tars = [item for item in items if item.name.lower().endswith(TAR)]
    units = plan_units((item for item in items if item not in tars), config.files_per_unit, "captions")

    def job(unit: Unit, near: dict[str, str]) -> CaptionJob:
        return CaptionJob(
            unit=unit,
            captions=tuple(captions.get(item.name, "") for item in unit.items),
            prompt=config.prompt,
            min_side=config.min_side,
            max_pixels=config.max_pixels,
            most_source_pixels=config.most_source_pixels,
            quality=config.jpeg_quality,
            deadline_s=config.deadline_s,
            memory_bytes=config.memory_bytes,
            max_aspect=config.max_aspect,
            near=tuple(near.get(item.name, "") for item in unit.items) if near else (),
            score=config.score,
            min_score=config.min_score,
            split_seed=config.split_seed,
        )

    near = _near([job(unit, {}) for unit in units], out, config.workers) if config.dedup == "near" else {}
    jobs = [job(unit, near) for unit in (*units, *plan_units(tars, 1, "captions-tar"))]
    receipts = run_units(build_caption_unit, jobs, out, config.workers)
    return shard_stats(receipts, "captions", len(items), config.max_quarantine_share)


def _near(jobs: list[CaptionJob], out: Attempt, workers: int) -> dict[str, str]:
    """Name -> earlier name of pictures that look alike, over all units: made anew by every attempt, always the same."""
    from pipelines.images.captions import measure_pictures
    from pipelines.images.likeness import near_copies

    marks: dict[str, int] = {}
    for done, (_, found) in enumerate(out.executor.map(measure_pictures, jobs, Resources(), at_once=workers), 1):
        marks |= found
        out.events.progress(done, len(jobs), "units measured")
    return near_copies(sorted(marks.items()))


def _captions(listing: Listing) -> dict[str, str]:
    from pipelines.images.sources import TABLES, read_captions

    captions: dict[str, str] = {}
    for name, file in sorted(listing.files.items()):
        place = PurePosixPath(name)
        if place.name in TABLES:
            captions |= read_captions(file.path, "" if str(place.parent) == "." else str(place.parent))
    return captions
