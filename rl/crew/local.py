"""The crew in this process: one worker and one learner in turns. The whole loop without Ray, with the numbers of the Ray
crew: chunks, seeds and order are the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rl.crew.protocol import Published, Rolled
from rl.learner import Learner
from rl.prompts import Chunk
from rl.records import Group, Judgement, LearnReport
from rl.rewards.service import RewardService
from rl.rewards.verify import Case
from rl.settings import ReinforceConfig
from rl.worker import RolloutWorker


class LocalCrew:
    """See ``Crew``. A chunk is rolled when it is collected."""

    replaced = 0

    def __init__(self, model_dir: Path, config: ReinforceConfig) -> None:
        self.worker = RolloutWorker(model_dir, config)
        self.learner = Learner(model_dir, config.model_copy(update={"learners": 1}))
        self.service = RewardService(config.rewards.deadline)
        self.waiting: deque[tuple[Chunk, Published]] = deque()

    def start(self, step: int, checkpoint: Path | None) -> None:
        self.waiting.clear()
        self.learner.start(step, checkpoint)

    def publish(self) -> Published:
        version, weights = self.learner.publish()
        assert version is not None
        return Published(version, weights)

    def submit(self, chunks: Sequence[Chunk], published: Published) -> None:
        self.waiting += [(chunk, published) for chunk in chunks]

    def collect(self) -> tuple[Rolled, Any]:
        chunk, published = self.waiting.popleft()
        return self.worker.roll(chunk, published.weights)

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return self.service.judge(cases)

    def learn(self, groups: Sequence[Group]) -> Callable[[], LearnReport]:
        report = self.learner.learn(groups, *(group.tensors for group in groups))
        return lambda: report

    def save(self, directory: Path) -> None:
        self.learner.save(directory)

    def export(self, directory: Path) -> None:
        self.learner.export(directory)

    def close(self) -> None:
        self.service.close()
