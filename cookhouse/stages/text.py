"""``text``: text-only JSONL to shards. In: ``sources`` or ``source`` (files of ``{"text"}`` lines)."""

from __future__ import annotations

from typing import Any

from cookhouse.stages.sharding import list_inputs, run_units, shard_stats
from pipelines.core.cpus import FOLLOWS
from pipelines.core.identity import Identity, Runtime, Source, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage


class TextShards(StageConfig):
    """One sample a line; ``prompt`` is the user turn before every text, ``max_bytes`` the longest text kept."""

    source: Source[str | None] = None
    prompt: Identity[str] = "Continue."
    max_bytes: Identity[int] = 65_536
    files_per_unit: Identity[int] = 1
    split_seed: Identity[int] = 0
    max_quarantine_share: Runtime[float] = 0.5
    workers: Runtime[int] = FOLLOWS


@stage(
    "text",
    code_version=1,
    optional_inputs=("sources",),
    replaces={"source": "sources"},
    engines=("pyarrow", "webdataset"),
    deterministic="bytes",
    needs="data",
)
def build_text_shards(config: TextShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Plan one unit a file, write them."""
    from pipelines.shards.plan import plan_units
    from pipelines.text.lines import SUFFIXES, TextJob, build_text_unit

    listing = list_inputs(inputs, "text")
    items = [listing.item(name, config.split_seed) for name in listing.names(SUFFIXES)[: out.limit]]
    declared = all(item.family for item in items)
    jobs = [
        TextJob(unit, config.prompt, config.max_bytes, config.split_seed, declared)
        for unit in plan_units(items, config.files_per_unit, "text")
    ]
    receipts = run_units(build_text_unit, jobs, out, config.workers)
    return shard_stats(receipts, "text", len(items), config.max_quarantine_share)
