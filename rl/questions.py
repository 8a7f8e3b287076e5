"""Question items of shard artifacts: train split only, read once at the start of a run."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.core.errors import DataError
from pipelines.shards.index import ShardFolder, ShardIndex
from pipelines.shards.read import read_json
from rl.records import Question


def load_questions(
    artifacts: Iterable[ShardFolder],
    kinds: tuple[str, ...] = (),
    families: tuple[str, ...] = (),
    limit: int | None = None,
) -> list[Question]:
    """Questions with a short or long mode, in index order. Empty ``kinds`` or ``families`` take all.

    Raises DataError when nothing matches, with what is there."""
    questions, seen = [], set()
    for ref in ShardIndex.from_artifacts(artifacts).select(split="train", kind="question"):
        sample = read_json(ref)
        meta = sample["meta"]
        seen.add((meta.get("question_kind"), meta.get("family"), sample["mode"]))
        if sample["mode"] not in ("short", "long"):
            continue
        if (kinds and meta["question_kind"] not in kinds) or (families and meta.get("family") not in families):
            continue
        asked = tuple(message for message in sample["messages"] if message["role"] != "assistant")
        questions.append(
            Question(ref.key, meta["question_kind"], sample["mode"], meta["answer"], meta["verifier"], asked, ref)
        )
        if limit is not None and len(questions) >= limit:
            break
    if not questions:
        raise DataError(
            "no question item to learn from",
            why=f"wanted kinds {kinds or 'any'} of families {families or 'any'} in the train split, "
            f"found {sorted(map(str, seen))[:6]}",
            do="connect a step that writes question shards, or change question_kinds and families",
        )
    return questions
