"""Start a gang of training processes, one way for every place: Ray Train on a cluster, processes on this machine, or
this very process as one rank of a torchrun gang. What runs is always ``job.run_job``.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Literal

from model.training.job import Job, read_result, run_job
from pipelines.core.errors import ConfigError, InfraError

Kind = Literal["ray", "local", "torchrun"]


def launch(kind: Kind, job: Job) -> dict[str, Any]:
    """Train and return the totals (``job.read_result``). Blocks until the gang has ended.

    Raises ConfigError for a gang the launcher cannot make, InfraError when a worker was lost for good, and the
    worker's own error when it raised one."""
    if job.config.zero_stage is None and job.config.world_size > 1:
        raise ConfigError(
            f"plain torch trains in one process, not {job.config.world_size}", do="set zero_stage, or world_size: 1"
        )
    job.scratch.mkdir(parents=True, exist_ok=True)
    job.result.unlink(missing_ok=True)
    if kind == "ray":
        from model.training.launch_ray import run_on_ray

        run_on_ray(job)
    elif kind == "local":
        _run_here(job)
    else:
        _run_as_rank(job)
    if not job.result.is_file():
        raise InfraError(
            "training ended without a result", where=str(job.scratch), do="read the worker logs of this step"
        )
    return read_result(job)


def _run_here(job: Job) -> None:
    """One process: in this one. More: spawned children that meet on a loopback port."""
    if job.config.zero_stage is None:
        run_job(job, 0)
        return
    import torch.multiprocessing as mp

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_spawned, args=(job, port), nprocs=job.config.world_size, join=True)


def _spawned(rank: int, job: Job, port: int) -> None:
    numbers = {"MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job.config.world_size}
    os.environ.update({name: str(number) for name, number in numbers.items()}, MASTER_ADDR="127.0.0.1")
    run_job(job, rank)


def _run_as_rank(job: Job) -> None:
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"not inside torchrun: {', '.join(missing)} not set", do="start with torchrun, or launcher: local"
        )
    if int(os.environ["WORLD_SIZE"]) != job.config.world_size:
        raise ConfigError(
            f"torchrun started {os.environ['WORLD_SIZE']} processes, the step is defined for {job.config.world_size}",
            why="the world size is part of the step's key",
        )
    run_job(job, int(os.environ["RANK"]))
