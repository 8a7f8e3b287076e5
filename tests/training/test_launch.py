"""Gangs of two processes started for real: spawned on this machine, and by Ray Train."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CONFIG, changed, make_job

from cookhouse.stages.training import Pretrain
from model.training.job import Job, read_result
from model.training.launch import launch
from model.training.launch_ray import run_on_ray
from model.weights import read_weights
from pipelines.core.cpus import Room
from pipelines.core.errors import CookhouseError
from pipelines.core.events import read_events


@pytest.fixture
def gang_job(job: Job) -> Job:
    return changed(job, world_size=2, zero_stage=1, checkpoint_every=3)


@pytest.fixture(scope="module")
def spawned(samples, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Totals and weights of an undisturbed gang on this machine."""
    quiet = make_job(samples, tmp_path_factory.mktemp("quiet"), world_size=2, zero_stage=1, checkpoint_every=3)
    return launch("local", quiet), read_weights(quiet.folder / "model")


@pytest.mark.timeout(400)
def test_two_spawned_processes_train_what_one_process_trains(spawned, job: Job) -> None:
    one, (two, second) = launch("local", changed(job, checkpoint_every=3)), spawned
    for name in ("samples", "tokens", "supervised", "skipped_samples", "total_steps"):
        assert one[name] == two[name], name
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-3)
    first = read_weights(job.folder / "model")
    assert first.keys() == second.keys()
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-2


@pytest.mark.timeout(600)
def test_ray_train_restarts_a_lost_worker_from_the_checkpoint(
    ray_session, spawned, gang_job: Job, tmp_path: Path
) -> None:
    """One rank ends without a word in the second phase; the gang starts again and the result is that of a quiet run."""
    died = tmp_path / "died"

    def dies_once(job: Job, rank: int) -> None:
        import os

        from model.training import loop
        from model.training.job import run_job

        rate, taken = loop.learning_rate, []

        def counting(*arguments):
            taken.append(1)
            if len(taken) == 9 and rank == 1 and not died.exists():
                died.touch()
                os._exit(1)
            return rate(*arguments)

        loop.learning_rate = counting
        run_job(job, rank)

    gang_job.scratch.mkdir()
    run_on_ray(gang_job, run=dies_once)
    assert died.exists()
    totals = read_result(gang_job)
    notes = [event["text"] for event in read_events(gang_job.events) if event["kind"] == "note"]
    assert "resumed at phase all, step 3 of 6" in notes
    quiet, second = spawned
    assert quiet["losses"] == totals["losses"]
    first = read_weights(gang_job.folder / "model")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.timeout(600)
def test_a_workers_own_error_reaches_the_driver_as_it_is(ray_session, gang_job: Job) -> None:
    with pytest.raises(CookhouseError, match="document-003"):
        launch("ray", changed(gang_job, on_error="fail", max_failures=0))


@pytest.mark.timeout(600)
def test_a_rank_reserves_the_cpus_of_its_threads(ray_session, job: Job, tmp_path: Path) -> None:
    """One rank on a Ray of two CPUs, sized for it: two threads, although its process began with OMP_NUM_THREADS=1."""
    config = Pretrain(model=CONFIG, phases=job.config.phases, world_size=1).sized(Room(2, 2))
    told = tmp_path / "told.json"

    def run(job: Job, rank: int) -> None:
        import json
        import os

        import ray
        import torch

        from model.training.job import run_job

        run_job(job, rank)
        reserved = ray.get_runtime_context().get_assigned_resources()["CPU"]
        told.write_text(json.dumps([torch.get_num_threads(), reserved, os.environ["OMP_NUM_THREADS"]]))

    job.scratch.mkdir()
    run_on_ray(changed(job, threads=config.threads, cpus_per_worker=config.cpus_per_worker), run=run)
    assert json.loads(told.read_text()) == [2, 2.0, "1"]
