"""``questions``: question items about pages and pictures to shards, each item in every reasoning mode."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cookhouse.stages.sharding import Listing, corpus_stage, list_inputs, make_shards
from pipelines.core.errors import DataError
from pipelines.shards.plan import plan_units
from pipelines.text.settings import QuestionShards
from pipelines.workflow.stage import Attempt, Inputs


@corpus_stage("questions", code_version=1, engines=("pymupdf", "pillow", "pyarrow", "webdataset"))
def build_question_shards(config: QuestionShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Read every table, plan units of the files asked about, draw their pages once, write both modes."""
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
    units = plan_units((items[name] for name in sources), config.files_per_unit, "questions")
    jobs = []
    for unit in units:
        names = {item.name for item in unit.items}
        jobs.append(QuestionJob(unit, config, tuple(asked for asked in kept if asked.file in names)))
    return {**make_shards(build_question_unit, jobs, config, out, len(sources)), "items": len(kept)}


def _questions(listing: Listing) -> list[Any]:
    """All rows of ``questions/*.jsonl`` of the corpus, or of any ``*.jsonl`` in a user's folder."""
    from pipelines.text.questions import read_questions

    tables = [name for name in listing.names((".jsonl",)) if not listing.corpus or name.startswith("questions/")]
    return [question for name in tables for question in read_questions(listing.files[name].path)]
