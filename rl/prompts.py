"""Which questions make batch ``k``, and how a batch is cut into chunks: pure functions of the seed and the step.

A batch has a fixed number of long and of short prompts. Each mode walks through its questions in its own shuffled
order, epoch after epoch, so a resumed run needs nothing but the step number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core.errors import DataError
from pipelines.core.seeds import generator, seed_of
from rl.records import Mode, Prompt, Question


@dataclass(frozen=True)
class Chunk:
    """Prompts of one mode that one worker decodes together, with the seed of its draws."""

    uid: str
    prompts: tuple[Prompt, ...]
    seed: int


class PromptPlan:
    """Batches of ``prompts_per_step`` prompts, ``round(long_share * prompts_per_step)`` of them long.

    Raises DataError when a mode that is wanted has no question.
    """

    def __init__(
        self, questions: Sequence[Question], *, seed: int, prompts_per_step: int, long_share: float, chunk: int
    ) -> None:
        self.seed, self.chunk = seed, chunk
        longs = round(long_share * prompts_per_step)
        self.share: dict[Mode, int] = {"long": longs, "short": prompts_per_step - longs}
        self.questions: dict[Mode, tuple[Question, ...]] = {
            mode: tuple(item for item in questions if item.mode == mode) for mode in self.share
        }
        for mode, count in self.share.items():
            if count and not self.questions[mode]:
                raise DataError(
                    f"no {mode}-mode question to learn from",
                    why=f"{count} of {prompts_per_step} prompts of a batch are {mode}; questions: {len(questions)}",
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
