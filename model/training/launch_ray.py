"""The gang on a Ray cluster: Ray Train's ``TorchTrainer`` starts the workers, makes the process group, restarts all
after a lost worker (the loop then resumes from its own checkpoint). The only training file that imports ray.

``ray.train.report`` is a barrier with back-pressure, so it is not called: metrics go to JSONL, checkpoints
to the attempt's folder, which every worker sees. Ray's own storage path is scratch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from model.training.job import Job, run_job
from pipelines.core.errors import CookhouseError, InfraError


def _worker(config: dict[str, Any]) -> None:
    """Runs in every Ray worker."""
    from ray import train

    config["run"](config["job"], train.get_context().get_world_rank())


def run_on_ray(job: Job, run: Callable[[Job, int], None] = run_job) -> None:
    """Train ``job`` on the connected cluster. ``run`` is what every worker calls with the job and its rank.

    Raises the worker's own CookhouseError, or InfraError for anything else that ended the gang."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "180")
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    rank = job.config.rank
    asked = {"CPU": rank.cpus, "GPU": rank.gpus, "memory": rank.memory}
    reserved = {name: count for name, count in asked.items() if count}
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"job": job, "run": run},
        torch_config=TorchConfig(timeout_s=600),
        scaling_config=ScalingConfig(
            num_workers=job.config.world_size, use_gpu=bool(rank.gpus), resources_per_worker=reserved
        ),
        run_config=RunConfig(
            name="gang",
            storage_path=str(job.scratch / "ray"),
            failure_config=FailureConfig(max_failures=job.config.max_failures),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        if cause := _own_error(error):
            raise cause from error
        raise InfraError(
            "the training gang failed",
            why=str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__,
            do="run again: training resumes from the last checkpoint; details are in the step's log",
        ) from error


def _own_error(error: BaseException) -> CookhouseError | None:
    """A CookhouseError that some worker raised, wherever Ray wrapped it."""
    for inner in getattr(error, "worker_failures", {}).values():
        seen: BaseException | None = inner
        while seen is not None:
            if isinstance(seen, CookhouseError):
                return seen
            seen = getattr(seen, "cause", None) or seen.__cause__
    return None
