"""``synthetic_ocr``: pictures with text whose labels are exact. In: optionally ``photos`` (backgrounds) and ``pages`` (local
HTML). Out: shards with the text as target and the corners of every line."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from cookhouse.stages.sharding import Listing, run_units, shard_stats
from pipelines.core.cpus import FOLLOWS
from pipelines.core.errors import ConfigError
from pipelines.core.identity import Identity, Runtime, Source, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage


class SyntheticOcr(StageConfig):
    """``count`` drawings of up to ``most_lines`` lines, each side ``min_side`` to ``max_side`` pixels; a share
    ``photo_share`` of them on pictures of the folder ``photos``, the others on textures. Words and font families of test
    drawings are held out. Every HTML file of the folder ``pages`` is rendered at ``page_width`` x ``page_height`` pixels
    by the Chromium at ``chromium`` (extra ``html``); its version and those of the machine's fonts decide the bytes, only
    the former is part of the key."""

    photos: Source[str | None] = None
    pages: Source[str | None] = None
    count: Identity[Annotated[int, Field(ge=0)]] = 1000
    most_lines: Identity[Annotated[int, Field(ge=1)]] = 8
    min_side: Identity[Annotated[int, Field(ge=64)]] = 256
    max_side: Identity[Annotated[int, Field(ge=64)]] = 896
    photo_share: Identity[Annotated[float, Field(ge=0, le=1)]] = 0.6
    page_width: Identity[int] = 896
    page_height: Identity[int] = 672
    prompt: Identity[str] = "Read the text in the picture."
    jpeg_quality: Identity[int] = 92
    seed: Identity[int] = 0
    split_seed: Identity[int] = 0
    per_unit: Identity[Annotated[int, Field(ge=1)]] = 250
    chromium: Runtime[str] = "/usr/bin/chromium"
    max_quarantine_share: Runtime[float] = 0.5
    deadline_s: Runtime[float] = 60.0
    memory_bytes: Runtime[int] = 4 << 30
    workers: Runtime[int] = FOLLOWS


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


@stage(
    "synthetic_ocr",
    code_version=1,
    engines=("numpy", "pillow", "pymupdf", "pymupdf-fonts", "pyarrow", "webdataset"),
    deterministic="bytes",
    tool_digest=ocr_tools,
    needs="data",
)
def build_synthetic_ocr(config: SyntheticOcr, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Plan units of drawings and pages, make them, commit each."""
    from pipelines.images.sources import SUFFIXES
    from pipelines.images.synthetic import PAGE_SUFFIXES, Batch, OcrJob, build_ocr_unit
    from pipelines.shards.plan import plan_units

    if config.min_side > config.max_side:
        raise ConfigError(f"min_side {config.min_side} is above max_side {config.max_side}")
    photos = _items(inputs, "photos", SUFFIXES, config.split_seed)
    pages = _items(inputs, "pages", PAGE_SUFFIXES, config.split_seed)
    count = config.count if out.limit is None else min(config.count, out.limit)
    starts = range(0, count, config.per_unit)
    batches = [Batch(f"ocr-{at // config.per_unit:06d}", at, min(count, at + config.per_unit), ()) for at in starts]
    batches += [
        Batch(unit.name, 0, 0, unit.items) for unit in plan_units(pages[: out.limit], config.per_unit, "ocr-pages")
    ]
    jobs = [
        OcrJob(
            unit=batch,
            seed=config.seed,
            sizes=(config.min_side, config.max_side),
            most_lines=config.most_lines,
            photos=tuple(photos),
            photo_share=config.photo_share,
            page_size=(config.page_width, config.page_height),
            prompt=config.prompt,
            quality=config.jpeg_quality,
            split_seed=config.split_seed,
            chromium=config.chromium,
            deadline_s=config.deadline_s,
            memory_bytes=config.memory_bytes,
        )
        for batch in batches
    ]
    receipts = run_units(build_ocr_unit, jobs, out, config.workers)
    return shard_stats(receipts, "synthetic_ocr", count + len(pages), config.max_quarantine_share)


def _items(inputs: Inputs, field: str, suffixes: tuple[str, ...], split_seed: int) -> list[Any]:
    if field not in inputs.sources:
        return []
    listing = Listing({file.name: file for file in inputs.sources[field]}, {}, f"the path of {field}")
    return [listing.item(name, split_seed) for name in listing.names(suffixes)]
