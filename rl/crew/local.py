"""The crew in this process: one worker, one learner, judging by a plain call. The whole loop without Ray, with the
numbers of the Ray crew: chunks, seeds and order are the same."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rl.crew.protocol import Handle, Published, Rolled
from rl.learner import Learner
from rl.prompts import Chunk
from rl.records import Group, Judgement, LearnReport, Rollout
from rl.rewards.verify import Case, judge
from rl.settings import ReinforceConfig
from rl.transport import Weights
from rl.worker import RolloutWorker

T = TypeVar("T")


@dataclass(frozen=True)
class Done(Generic[T]):
    """A handle whose work is over."""

    value: T

    def result(self) -> T:
        return self.value


class LocalCrew:
    """One worker and one learner in turns."""

    def __init__(self, model_dir: Path, config: ReinforceConfig) -> None:
        self.worker = RolloutWorker(model_dir, config)
        self.learner = Learner(model_dir, config.model_copy(update={"learners": 1}))

    def start(self, step: int, checkpoint: Path | None) -> None:
        self.learner.start(step, checkpoint)

    def publish(self) -> Published:
        weights = self.learner.publish()
        assert isinstance(weights, Weights)
        return Published(weights.version, weights)

    def roll(self, chunks: Sequence[Chunk], published: Published) -> Handle[Rolled]:
        begun = time.perf_counter()
        rollouts: list[Rollout] = []
        tensors: list[Any] = []
        failures: dict[str, str] = {}
        for chunk in chunks:
            rolled, prompts = self.worker.roll(chunk, published.weights)
            rollouts += rolled.rollouts
            failures |= rolled.failures
            tensors.append(prompts)
        return Done(Rolled(tuple(rollouts), tuple(tensors), failures, time.perf_counter() - begun))

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return [judge(case) for case in cases]

    def learn(self, groups: Sequence[Group], tensors: Sequence[Any]) -> Handle[LearnReport]:
        prompts = {prompt.uid: prompt for part in tensors for prompt in part}
        return Done(self.learner.learn(groups, prompts))

    def save(self, directory: Path) -> None:
        self.learner.save(directory)

    def export(self, directory: Path) -> None:
        self.learner.export(directory)

    def close(self) -> None:
        pass
