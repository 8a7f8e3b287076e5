"""``text``: text-only JSONL to shards. In: ``sources`` or ``source`` (files of ``{"text"}`` lines)."""

from __future__ import annotations

from typing import Any

from cookhouse.stages.sharding import corpus_stage, list_inputs, make_shards
from pipelines.shards.plan import plan_units
from pipelines.text.settings import TextShards
from pipelines.workflow.stage import Attempt, Inputs


@corpus_stage("text", code_version=1, engines=("pyarrow", "webdataset"))
def build_text_shards(config: TextShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """One unit a file."""
    from pipelines.text.lines import SUFFIXES, TextJob, build_text_unit

    items = list_inputs(inputs, "text").items(SUFFIXES, config.split_seed, out.limit)
    declared = all(item.family for item in items)
    jobs = [TextJob(unit, config, declared) for unit in plan_units(items, config.files_per_unit, "text")]
    return make_shards(build_text_unit, jobs, config, out, len(items))
