"""``captions``: captioned images to shards. In: ``sources`` or ``source`` (pictures and ``captions.jsonl``)."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from cookhouse.stages.sharding import Listing, list_inputs, run_units, shard_stats
from pipelines.core.identity import Identity, Runtime, Source, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage


class CaptionShards(StageConfig):
    """Pictures are kept upright, shrunk to at most ``max_pixels``; a side below ``min_side`` pixels is filtered."""

    source: Source[str | None] = None
    prompt: Identity[str] = "Describe."
    min_side: Identity[int] = 16
    max_pixels: Identity[int] = 1344 * 1344
    most_source_pixels: Identity[int] = 100_000_000
    jpeg_quality: Identity[int] = 95
    files_per_unit: Identity[int] = 64
    split_seed: Identity[int] = 0
    max_quarantine_share: Runtime[float] = 0.5
    deadline_s: Runtime[float] = 60.0
    memory_bytes: Runtime[int] = 4 << 30
    workers: Runtime[int] = 2


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
    from pipelines.images.captions import SUFFIXES, CaptionJob, build_caption_unit, match_captions
    from pipelines.shards.plan import plan_units

    listing = list_inputs(inputs, "images")
    captions = _captions(listing)
    items = [listing.item(name, config.split_seed) for name in listing.names(SUFFIXES)[: out.limit]]
    jobs = [
        CaptionJob(
            unit=unit,
            captions=match_captions(unit.items, captions),
            prompt=config.prompt,
            min_side=config.min_side,
            max_pixels=config.max_pixels,
            most_source_pixels=config.most_source_pixels,
            quality=config.jpeg_quality,
            directory=str(out.dir),
            deadline_s=config.deadline_s,
            memory_bytes=config.memory_bytes,
        )
        for unit in plan_units(items, config.files_per_unit, "captions")
    ]
    receipts = run_units(build_caption_unit, jobs, out, config.workers)
    return shard_stats(receipts, "captions", len(items), config.max_quarantine_share)


def _captions(listing: Listing) -> dict[str, str]:
    from pipelines.images.captions import TABLE, read_captions

    captions: dict[str, str] = {}
    for name, file in sorted(listing.files.items()):
        place = PurePosixPath(name)
        if place.name == TABLE:
            captions |= read_captions(file.path, "" if str(place.parent) == "." else str(place.parent))
    return captions
