"""The same loop on Ray: the same numbers, also when a rollout actor is killed in the middle."""

import os
import signal
import time

import numpy as np
import pytest

from pipelines.core.cpus import Room
from pipelines.core.errors import InfraError
from pipelines.core.executor import InProcess
from pipelines.workflow.backends.ray_executor import RayExecutor
from rl.controller import Controller, Watch
from rl.crew.local import LocalCrew
from rl.crew.protocol import crew_of
from rl.prompts import PromptPlan
from rl.rewards.verify import Case
from rl.settings import ReinforceConfig

BASE = ReinforceConfig(
    steps=4,
    prompts_per_step=8,
    group=4,
    chunk=2,
    max_new_tokens_short=3,
    max_new_tokens_long=8,
    checkpoint_every=3,
    deadline=300.0,
)
CONFIG = BASE.sized(Room(2, 2))


def floats(weights):
    return weights.flat.view(np.float32).copy()


def run(crew, questions, after=lambda step: None):
    """(metrics by step, final weights version)"""
    rows = []

    def seen(step, values):
        rows.append(values)
        after(step)

    crew.start(0, None)
    Controller(crew, PromptPlan(questions, CONFIG, seed=0), CONFIG, Watch(seen, lambda *_: None, lambda _: None)).run(0)
    return rows, crew.publish().version


def test_a_killed_actor_costs_a_chunk_and_changes_nothing(ray_session, noisy_model, questions, tmp_path):
    import ray

    local = crew_of(InProcess(), noisy_model, CONFIG)
    assert ray.is_initialized()
    assert isinstance(local, LocalCrew), "the executor decides, not what this process is connected to"
    rows, version = run(local, questions)
    local.close()
    crew = crew_of(RayExecutor(), noisy_model, CONFIG)
    assert type(crew).__name__ == "RayCrew"
    try:
        victim = ray.get(crew.workers[0].pid.remote())

        def kill(step):
            if step == 1:
                os.kill(victim, signal.SIGKILL)

        found, reached = run(crew, questions, after=kill)
        assert sum(row["replaced_workers"] for row in found) == 1
        assert crew.fleet.replacements == 1
        assert reached == version, "workers, their number and their deaths do not enter the numbers"
        assert [row["reward/mean"] for row in found] == [row["reward/mean"] for row in rows]
        assert np.isclose(found[0]["parity_max_abs"], rows[0]["parity_max_abs"])

        os.kill(ray.get(crew.judges.pid.remote()), signal.SIGKILL)
        assert crew.judge([Case("7", "number", "short", "7", "stop")])[0].verdict == "correct"
        crew.export(tmp_path / "model")
        assert (tmp_path / "model" / "model.safetensors").is_file()
        os.kill(ray.get(crew.learners[0].pid.remote()), signal.SIGKILL)
        with pytest.raises(InfraError, match="died while the run waited for the learners to publish"):
            crew.publish()
    finally:
        crew.close()
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU") != pytest.approx(2.0):
        assert time.monotonic() < deadline, f"the actors' CPUs did not come back: {ray.available_resources()}"


def test_two_learner_ranks_make_the_update_of_one(ray_session, noisy_model, questions, tmp_path):
    """Ranks share the packs and their order of addition, so float noise is all that may differ; what they save they
    resume from."""
    import ray

    from rl.crew.ray import RayCrew

    def weights_after(crew, config, first=0):
        watch = Watch(lambda *_: None, lambda *_: None, lambda _: None)
        Controller(crew, PromptPlan(questions, config, seed=0), config, watch).run(first)
        weights = crew.publish().weights
        return floats(weights if hasattr(weights, "flat") else ray.get(weights))

    one = CONFIG.model_copy(update={"steps": 1})
    alone = LocalCrew(noisy_model, one)
    alone.start(0, None)
    before = floats(alone.publish().weights)
    expected = weights_after(alone, one)
    alone.close()
    crew = RayCrew(noisy_model, BASE.model_copy(update={"steps": 1, "learners": 2}).sized(Room(2, 2)))
    try:
        crew.start(0, None)
        np.testing.assert_allclose(weights_after(crew, one), expected, atol=2e-6)
        assert np.abs(expected - before).max() > 1e-5, "there was something to learn"
        crew.save(tmp_path / "checkpoint")
        two = one.model_copy(update={"steps": 2})
        straight = weights_after(crew, two, first=1)
        crew.start(1, tmp_path / "checkpoint")
        np.testing.assert_array_equal(weights_after(crew, two, first=1), straight)
    finally:
        crew.close()


def test_no_room_says_what_is_missing(ray_session, noisy_model, monkeypatch):
    import rl.crew.ray

    monkeypatch.setattr(rl.crew.ray, "_PLACEMENT_SECONDS", 1.0)
    with pytest.raises(Exception, match="ask for 64"):
        rl.crew.ray.RayCrew(noisy_model, CONFIG.model_copy(update={"learner_cpus": 63.1}))
