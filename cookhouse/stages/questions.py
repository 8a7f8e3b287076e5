"""``questions``: question items about pages and pictures to shards, each item in every reasoning mode."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from cookhouse.stages.sharding import Listing, list_inputs, run_units, shard_stats
from pipelines.core.cpus import FOLLOWS
from pipelines.core.errors import DataError
from pipelines.core.identity import Identity, Runtime, Source, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage


class QuestionShards(StageConfig):
    """``families`` keeps the items about these families of the sample corpus (items of a user's ``source`` are all
    kept), ``limit`` the first so many items of each split; pages are drawn at ``dpi``, at most ``max_pixels``."""

    source: Source[str | None] = None
    families: Identity[tuple[str, ...]] = ("card",)
    limit: Identity[int | None] = None
    modes: Identity[tuple[Literal["short", "long"], ...]] = ("short", "long")
    dpi: Identity[int] = 72
    max_pixels: Identity[int] = 1344 * 1344
    files_per_unit: Identity[int] = 8
    split_seed: Identity[int] = 0
    max_quarantine_share: Runtime[float] = 0.5
    deadline_s: Runtime[float] = 30.0
    memory_bytes: Runtime[int] = 4 << 30
    workers: Runtime[int] = FOLLOWS


@stage(
    "questions",
    code_version=1,
    optional_inputs=("sources",),
    replaces={"source": "sources"},
    engines=("pymupdf", "pillow", "pyarrow", "webdataset"),
    deterministic="bytes",
    needs="data",
)
def build_question_shards(config: QuestionShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Read every table, plan units of the files asked about, draw their pages once, write both modes."""
    from pipelines.shards.plan import plan_units
    from pipelines.text.questions import Question, QuestionJob, build_question_unit

    listing = list_inputs(inputs)
    questions = _questions(listing)
    items = {name: listing.item(name, config.split_seed) for name in sorted({asked.file for asked in questions})}
    kept: list[Question] = []
    counts: Counter[str] = Counter()
    for asked in questions:
        item = items[asked.file]
        if item.family and item.family not in config.families:
            continue
        counts[item.split] += 1
        if config.limit is None or counts[item.split] <= config.limit:
            kept.append(asked)
    kept = kept[: out.limit]
    if not kept:
        raise DataError(f"none of {len(questions)} question items is about a file of {', '.join(config.families)}")
    sources = {asked.file for asked in kept}
    jobs = [
        QuestionJob(
            unit=unit,
            questions=tuple(asked for asked in kept if asked.file in {item.name for item in unit.items}),
            modes=config.modes,
            dpi=config.dpi,
            max_pixels=config.max_pixels,
            deadline_s=config.deadline_s,
            memory_bytes=config.memory_bytes,
        )
        for unit in plan_units((items[name] for name in sources), config.files_per_unit, "questions")
    ]
    receipts = run_units(build_question_unit, jobs, out, config.workers)
    stats = shard_stats(receipts, "questions", len(sources), config.max_quarantine_share)
    return {**stats, "items": len(kept)}


def _questions(listing: Listing) -> list[Any]:
    """All rows of ``questions/*.jsonl`` of the corpus, or of any ``*.jsonl`` in a user's folder."""
    from pipelines.text.questions import read_questions

    tables = [name for name in listing.names((".jsonl",)) if not listing.corpus or name.startswith("questions/")]
    return [question for name in tables for question in read_questions(listing.files[name].path)]
