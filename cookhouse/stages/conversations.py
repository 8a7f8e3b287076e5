"""``conversations`` and ``interleaved``: tables of conversations, or of documents with pictures, to shards. In:
``source`` (a folder with tables and the pictures and videos they name). Out: shards, a row for every row of a table."""

from __future__ import annotations

from typing import Any

from cookhouse.stages.sharding import list_inputs, run_units, shard_stats
from pipelines.core.cpus import FOLLOWS
from pipelines.core.errors import ConfigError
from pipelines.core.identity import Identity, Runtime, Source, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage


class TableShards(StageConfig):
    """Every ``*.jsonl``, ``*.json`` (one list) and ``*.parquet`` of the folder is a table, in the forms that
    ``pipelines.text.chats`` reads. ``max_bytes`` and ``max_media``: the most text and the most pictures and videos of a
    row that is kept. Pictures are shrunk to ``max_pixels``; videos give up to ``max_frames`` frames at ``fps`` of about
    ``view_pixels``."""

    source: Source[str | None] = None
    max_bytes: Identity[int] = 262_144
    max_media: Identity[int] = 32
    max_pixels: Identity[int] = 1344 * 1344
    most_source_pixels: Identity[int] = 100_000_000
    jpeg_quality: Identity[int] = 95
    fps: Identity[float] = 2.0
    max_frames: Identity[int] = 180
    view_pixels: Identity[int] = 448 * 448
    rows_per_unit: Identity[int] = 500
    split_seed: Identity[int] = 0
    max_quarantine_share: Runtime[float] = 0.5
    deadline_s: Runtime[float] = 120.0
    memory_bytes: Runtime[int] = 4 << 30
    workers: Runtime[int] = FOLLOWS


class ConversationShards(TableShards):
    """Conversations for fine-tuning; a thought of the last answer makes the sample ``long``, else it is ``short``."""


class InterleavedShards(TableShards):
    """Documents of text and pictures for pretraining."""


_ENGINES = ("av", "pillow", "pyarrow", "webdataset")


@stage(
    "conversations",
    code_version=1,
    optional_inputs=("sources",),
    replaces={"source": "sources"},
    engines=_ENGINES,
    deterministic="bytes",
    needs="data",
)
def build_conversation_shards(config: ConversationShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Plan units of rows, decode what they name in sandboxes, commit each."""
    return _build(config, inputs, out, "conversations")


@stage(
    "interleaved",
    code_version=1,
    optional_inputs=("sources",),
    replaces={"source": "sources"},
    engines=_ENGINES,
    deterministic="bytes",
    needs="data",
)
def build_interleaved_shards(config: InterleavedShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """As for conversations, with documents in place of turns."""
    return _build(config, inputs, out, "interleaved")


def _build(config: TableShards, inputs: Inputs, out: Attempt, form: Any) -> dict[str, Any]:
    from pipelines.shards.tables import SUFFIXES, count_rows
    from pipelines.text.conversations import Rows, RowsJob, build_rows_unit
    from pipelines.videos.decode import DecodeSpec

    if config.source is None and "sources" not in inputs:
        raise ConfigError(
            f"no folder with {form} is given",
            do="give source.conversations=/data/chats to recipe=conversations, or set `source` of the step",
        )
    listing = list_inputs(inputs)
    tables = [listing.item(name, config.split_seed) for name in listing.names(SUFFIXES)]
    video = DecodeSpec(config.fps, config.max_frames, config.view_pixels)
    jobs = []
    left = out.limit
    for number, table in enumerate(tables):
        path = listing.files[table.name].path
        rows = count_rows(path) if left is None else min(left, count_rows(path))
        left = None if left is None else left - rows
        for start in range(0, rows, config.rows_per_unit):
            stop = min(rows, start + config.rows_per_unit)
            job = RowsJob(
                unit=Rows(f"{form}-{number:04d}-{start // config.rows_per_unit:06d}", table, start, stop),
                form=form,
                root=table.address.removesuffix(table.name),
                max_bytes=config.max_bytes,
                max_media=config.max_media,
                max_pixels=config.max_pixels,
                most_source_pixels=config.most_source_pixels,
                quality=config.jpeg_quality,
                video=video,
                split_seed=config.split_seed,
                deadline_s=config.deadline_s,
                memory_bytes=config.memory_bytes,
            )
            jobs.append(job)
    receipts = run_units(build_rows_unit, jobs, out, config.workers)
    return shard_stats(receipts, form, len(tables), config.max_quarantine_share)
