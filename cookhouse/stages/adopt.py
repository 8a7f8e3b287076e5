"""``adopt``: foreign WebDataset folders to shards. In: ``source`` (a folder or glob of ``.tar`` files)."""

from __future__ import annotations

from typing import Any, Literal

from cookhouse.stages.sharding import list_inputs, run_units, shard_stats
from pipelines.core.cpus import FOLLOWS
from pipelines.core.identity import Identity, Runtime, Source, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage


class AdoptShards(StageConfig):
    """Captioned images, texts, or samples of our own form. ``split`` None draws each sample's split from its content;
    ``caption_prompt`` and ``text_prompt`` are the user turn before what has none; sizes in bytes."""

    source: Source[str]
    caption_prompt: Identity[str] = "Describe."
    text_prompt: Identity[str] = "Continue."
    split: Identity[Literal["train", "val", "test"] | None] = None
    split_seed: Identity[int] = 0
    most_member_bytes: Identity[int] = 64 << 20
    most_sample_bytes: Identity[int] = 256 << 20
    most_source_pixels: Identity[int] = 100_000_000
    max_quarantine_share: Runtime[float] = 0.5
    workers: Runtime[int] = FOLLOWS


@stage(
    "adopt",
    code_version=1,
    engines=("pillow", "pyarrow", "webdataset"),
    deterministic="bytes",
    needs="data",
)
def adopt_shards(config: AdoptShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """One unit a tar."""
    from pipelines.shards.adopt import SUFFIXES, AdoptJob, Limits, build_adopted_unit
    from pipelines.shards.plan import plan_units

    listing = list_inputs(inputs)
    items = [listing.item(name, config.split_seed) for name in listing.names(SUFFIXES)[: out.limit]]
    jobs = [
        AdoptJob(
            unit=unit,
            caption_prompt=config.caption_prompt,
            text_prompt=config.text_prompt,
            split=config.split,
            split_seed=config.split_seed,
            limits=Limits(config.most_member_bytes, config.most_sample_bytes, config.most_source_pixels),
        )
        for unit in plan_units(items, 1, "adopted")
    ]
    receipts = run_units(build_adopted_unit, jobs, out, config.workers)
    return shard_stats(receipts, "adopt", len(items), config.max_quarantine_share)
