"""The actors: thin Ray shells around the plain classes. Everything heavy is imported inside, in the process that needs
it: the reward actor never loads torch."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

if TYPE_CHECKING:
    from rl.prompts import Chunk
    from rl.records import Group, Judgement, LearnReport
    from rl.rewards.verify import Case
    from rl.settings import ReinforceConfig


@ray.remote(max_restarts=0, max_task_retries=0)
class RolloutActor:
    """One ``RolloutWorker``. Never restarted by Ray: the fleet decides, and the new process must prove its weights."""

    def __init__(self, model_dir: str, config: ReinforceConfig) -> None:
        import torch

        from rl.worker import RolloutWorker

        torch.set_num_threads(config.rollout_threads)
        self.worker = RolloutWorker(Path(model_dir), config)

    def ready(self) -> int:
        return os.getpid()

    @ray.method(num_returns=2)
    def roll(self, chunk: Chunk, weights: Any) -> tuple[Any, Any]:
        """(RolledChunk, list[PromptTensors]): two objects, so that the tensors never pass through the controller."""
        return self.worker.roll(chunk, weights)


@ray.remote(max_restarts=0, max_task_retries=0)
class RewardActor:
    """One ``RewardService`` with its child process."""

    def __init__(self, deadline: float) -> None:
        from rl.rewards.service import RewardService

        self.service = RewardService(deadline)

    def ready(self) -> int:
        return os.getpid()

    def judge(self, cases: Sequence[Case]) -> list[Judgement]:
        return self.service.judge(cases)

    def close(self) -> None:
        self.service.close()


@ray.remote(max_restarts=0, max_task_retries=0)
class LearnerActor:
    """One rank of the learner. ``join`` builds it once the address of rank 0 is known."""

    def address(self) -> tuple[str, int]:
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def join(self, rank: int, address: tuple[str, int], model_dir: str, config: ReinforceConfig) -> int:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        values = (rank, rank, config.learners, *address)
        os.environ.update({name: str(value) for name, value in zip(names, values, strict=True)})
        import torch

        from rl.learner import Learner

        torch.set_num_threads(config.learner_threads)
        self.learner = Learner(Path(model_dir), config)
        return os.getpid()

    def start(self, step: int, checkpoint: str | None) -> None:
        self.learner.start(step, None if checkpoint is None else Path(checkpoint))

    def learn(self, groups: Sequence[Group], *tensors: Any) -> LearnReport:
        return self.learner.learn(groups, {prompt.uid: prompt for part in tensors for prompt in part})

    def publish(self) -> tuple[Any, Any] | None:
        """(version, [reference]) on rank 0. The buffer enters the object store once, here."""
        weights = self.learner.publish()
        return None if weights is None else (weights.version, [ray.put(weights)])

    def save(self, directory: str) -> None:
        self.learner.save(Path(directory))

    def export(self, directory: str) -> None:
        self.learner.export(Path(directory))
