"""``adopt``: foreign WebDataset folders to shards. In: ``source`` (a folder or glob of ``.tar`` files)."""

from __future__ import annotations

from typing import Any

from cookhouse.stages.sharding import list_inputs, make_shards, shard_stage
from pipelines.shards.plan import plan_units
from pipelines.shards.settings import AdoptShards
from pipelines.workflow.stage import Attempt, Inputs


@shard_stage("adopt", code_version=1, engines=("pillow", "pyarrow", "webdataset"))
def adopt_shards(config: AdoptShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """One unit a tar."""
    from pipelines.shards.adopt import SUFFIXES, AdoptJob, build_adopted_unit

    items = list_inputs(inputs).items(SUFFIXES, config.split_seed, out.limit)
    jobs = [AdoptJob(unit, config) for unit in plan_units(items, 1, "adopted")]
    return make_shards(build_adopted_unit, jobs, config, out, len(items))
