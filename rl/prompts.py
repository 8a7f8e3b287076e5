"""Which questions there are, which of them make batch ``k``, and how a batch is cut into chunks: after the reading, pure
functions of the seed and the step.

A batch has a fixed number of long and of short prompts. Each mode walks through its questions in its own shuffled
order, epoch after epoch, so a resumed run needs nothing but the step number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.core.errors import DataError
from pipelines.core.seeds import generator, seed_of
from pipelines.shards.index import ShardFolder, ShardIndex
from pipelines.shards.read import read_json
from rl.records import Mode, Prompt, Question
from rl.settings import ReinforceConfig


def load_questions(
    artifacts: Iterable[ShardFolder],
    kinds: tuple[str, ...] = (),
    families: tuple[str, ...] = (),
    limit: int | None = None,
) -> list[Question]:
    """Questions with a short or long mode, in index order; empty ``kinds`` or ``families`` take all. Raises DataError when
    nothing matches, with what is there."""
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


@dataclass(frozen=True)
class Chunk:
    """Prompts of one mode that one worker decodes together, with the seed of its draws."""

    uid: str
    prompts: tuple[Prompt, ...]
    seed: int


class PromptPlan:
    """Raises DataError when a mode that is wanted has no question."""

    def __init__(self, questions: Sequence[Question], config: ReinforceConfig, seed: int) -> None:
        self.seed, self.chunk = seed, config.chunk
        self.share: dict[Mode, int] = {"long": config.longs, "short": config.prompts_per_step - config.longs}
        self.questions: dict[Mode, tuple[Question, ...]] = {
            mode: tuple(item for item in questions if item.mode == mode) for mode in self.share
        }
        for mode, count in self.share.items():
            if count and not self.questions[mode]:
                raise DataError(
                    f"no {mode}-mode question to learn from",
                    why=f"{count} of {config.prompts_per_step} prompts of a batch are {mode}; questions: {len(questions)}",
                    do="give question shards of the train split that hold this mode, or change long_share",
                )

    def batch(self, step: int) -> list[Chunk]:
        """The chunks of batch ``step``, long ones first: they take longest, so they are started first."""
        chunks = []
        for mode, count in self.share.items():
            prompts = [self._prompt(step, mode, index) for index in range(count)]
            for start in range(0, count, self.chunk):
                uid = f"s{self.seed}-b{step:05d}-{mode}-{start // self.chunk:02d}"
                seed = seed_of("rollout", self.seed, uid) % 2**63
                chunks.append(Chunk(uid, tuple(prompts[start : start + self.chunk]), seed))
        return chunks

    def _prompt(self, step: int, mode: Mode, index: int) -> Prompt:
        items = self.questions[mode]
        epoch, place = divmod(step * self.share[mode] + index, len(items))
        order = generator("rl-order", self.seed, mode, epoch).permutation(len(items))
        return Prompt(f"s{self.seed}-b{step:05d}-{mode}-{index:03d}", items[int(order[place])])
