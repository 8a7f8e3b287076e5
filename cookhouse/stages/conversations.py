"""``conversations`` and ``interleaved``: tables of conversations, or of documents with pictures, to shards. In:
``source`` (a folder with tables and the pictures and videos they name). Out: shards, a row for every row of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cookhouse.stages.sharding import corpus_stage, list_inputs, make_shards
from pipelines.core.errors import ConfigError
from pipelines.text.settings import ConversationShards, InterleavedShards, TableShards
from pipelines.workflow.stage import Attempt, Inputs

if TYPE_CHECKING:
    from pipelines.text.conversations import Form

_ENGINES = ("av", "pillow", "pyarrow", "webdataset")


@corpus_stage("conversations", code_version=1, engines=_ENGINES)
def build_conversation_shards(config: ConversationShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Plan units of rows, decode what they name in sandboxes, commit each."""
    return _build(config, inputs, out, "conversations")


@corpus_stage("interleaved", code_version=1, engines=_ENGINES)
def build_interleaved_shards(config: InterleavedShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """As for conversations, with documents in place of turns."""
    return _build(config, inputs, out, "interleaved")


def _build(config: TableShards, inputs: Inputs, out: Attempt, form: Form) -> dict[str, Any]:
    from pipelines.shards.tables import SUFFIXES, count_rows
    from pipelines.text.conversations import Rows, RowsJob, build_rows_unit

    if config.source is None and "sources" not in inputs:
        raise ConfigError(
            f"no folder with {form} is given",
            do="give source.conversations=/data/chats to recipe=conversations, or set `source` of the step",
        )
    listing = list_inputs(inputs)
    tables = listing.items(SUFFIXES, config.split_seed)
    jobs = []
    left = out.limit
    for number, table in enumerate(tables):
        path = listing.files[table.name].path
        rows = count_rows(path) if left is None else min(left, count_rows(path))
        left = None if left is None else left - rows
        for start in range(0, rows, config.rows_per_unit):
            stop = min(rows, start + config.rows_per_unit)
            unit = Rows(f"{form}-{number:04d}-{start // config.rows_per_unit:06d}", table, start, stop)
            jobs.append(RowsJob(unit, config, form, table.address.removesuffix(table.name)))
    return make_shards(build_rows_unit, jobs, config, out, len(tables))
