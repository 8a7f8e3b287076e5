"""``synthetic_ocr``: pictures with text whose labels are exact. In: optionally ``photos`` (backgrounds) and ``pages`` (local
HTML). Out: shards with the text as target and the corners of every line."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Any

from cookhouse.stages.sharding import list_inputs, make_shards, shard_stage
from pipelines.core.errors import ConfigError
from pipelines.images.settings import SyntheticOcr
from pipelines.shards.plan import SourceItem, plan_units
from pipelines.workflow.stage import Attempt, Inputs


def ocr_tools(config: SyntheticOcr) -> Mapping[str, str]:
    """Chromium's version where pages are rendered."""
    if config.pages is None:
        return {}
    try:
        told = subprocess.run([config.chromium, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"no Chromium at {config.chromium}",
            why=str(error),
            do="install it, or set `chromium` of the step to its path",
        ) from error
    return {"chromium": told.stdout.strip()}


@shard_stage(
    "synthetic_ocr",
    code_version=1,
    engines=("numpy", "pillow", "pymupdf", "pymupdf-fonts", "pyarrow", "webdataset"),
    tool_digest=ocr_tools,
)
def build_synthetic_ocr(config: SyntheticOcr, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Units of drawings, then units of pages."""
    from pipelines.images.sources import SUFFIXES
    from pipelines.images.synthetic import PAGE_SUFFIXES, Batch, OcrJob, build_ocr_unit

    if config.min_side > config.max_side:
        raise ConfigError(f"min_side {config.min_side} is above max_side {config.max_side}")
    photos = tuple(_items(inputs, "photos", SUFFIXES, config.split_seed))
    pages = _items(inputs, "pages", PAGE_SUFFIXES, config.split_seed)
    count = config.count if out.limit is None else min(config.count, out.limit)
    starts = range(0, count, config.per_unit)
    batches = [Batch(f"ocr-{at // config.per_unit:06d}", at, min(count, at + config.per_unit), ()) for at in starts]
    units = plan_units(pages[: out.limit], config.per_unit, "ocr-pages")
    batches += [Batch(unit.name, 0, 0, unit.items) for unit in units]
    jobs = [OcrJob(batch, config, photos) for batch in batches]
    return make_shards(build_ocr_unit, jobs, config, out, count + len(pages))


def _items(inputs: Inputs, field: str, suffixes: tuple[str, ...], split_seed: int) -> list[SourceItem]:
    return list_inputs(inputs, field=field).items(suffixes, split_seed) if field in inputs.sources else []
