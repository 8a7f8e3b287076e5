"""More CPUs are used where they are: what every step of the shipped recipes asks for, and what that makes of the demo."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from critical_path import demo_seconds

from cookhouse.golden_keys import golden_keys
from cookhouse.project import load_project
from cookhouse.stages.documents import DocumentShards
from pipelines.core.cpus import Room
from pipelines.core.executor import Resources
from pipelines.core.identity import identity_of
from rl.settings import ReinforceConfig

DATA = ("documents", "videos", "captions", "text", "questions", "evaluate")


def configs(cpus: int, *overrides: str) -> dict:
    steps = load_project(["recipe=tiny", f"cluster.num_cpus={cpus}", *overrides]).steps
    return {step.name: step.config for step in steps}


@pytest.mark.parametrize(
    ("cpus", "threads", "crew"),
    [(1, 1, (1, 1, 1)), (2, 1, (2, 1, 1)), (4, 2, (2, 1, 1)), (8, 4, (4, 1, 2)), (64, 8, (4, 8, 8))],
)
def test_what_each_step_asks_for(cpus: int, threads: int, crew: tuple[int, int, int]) -> None:
    found = configs(cpus)
    assert {found[name].workers for name in DATA} == {cpus}
    for name in ("pretrain", "sft"):
        gang = found[name]
        assert (gang.world_size, gang.threads) == (2, threads)
        assert gang.demand().whole.cpus <= cpus, "Ray finds place for every rank"
    rl = found["rl"]
    assert (rl.rollout_workers, rl.rollout_threads, rl.learner_threads) == crew
    reserved = rl.rollout_workers * rl.rollout_cpus + rl.reward_cpus + rl.learners * rl.learner_cpus
    assert 0 < reserved <= cpus
    assert rl.demand().whole.cpus <= max(cpus, 4)


@pytest.mark.parametrize("cpus", range(1, 70))
@pytest.mark.parametrize(("learners", "chunk"), [(1, 12), (1, 1), (4, 6)])
def test_the_crew_always_finds_place(cpus: int, learners: int, chunk: int) -> None:
    rl = ReinforceConfig(learners=learners, chunk=chunk).sized(Room(cpus, cpus))
    bundles = [one.cpus for one in rl.bundles()]
    assert len(bundles) == rl.rollout_workers + 1 + learners
    assert sum(bundles) <= cpus + 1e-9
    assert min(bundles) > 0
    assert 1 <= rl.rollout_workers <= rl.chunks
    if cpus >= 4 and learners == 1:
        assert rl.demand().whole.cpus <= cpus, "a thread for every CPU and no more"


def test_the_crew_asks_for_the_gpus_it_is_given() -> None:
    rl = ReinforceConfig(rollout_gpus=0.5, learner_gpus=1, learners=2, chunk=12).sized(Room(8, 8))
    assert [one.gpus for one in rl.bundles()] == [0.5] * rl.rollout_workers + [0, 1, 1]


def test_keys_do_not_know_how_many_cpus_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for cpus in (1, 2, 8, 64):
        monkeypatch.setattr("cookhouse.project.given_cpus", lambda cpus=cpus: cpus)
        found[cpus] = golden_keys()
    assert found[1] == found[2] == found[8] == found[64]
    assert {name: identity_of(one) for name, one in configs(1).items()} == {
        name: identity_of(one) for name, one in configs(64).items()
    }


def test_a_given_number_wins() -> None:
    found = configs(
        8,
        "steps.documents.workers=3",
        "steps.sft.threads=2",
        "steps.pretrain.cpus_per_worker=1",
        "steps.rl.rollout_workers=1",
    )
    assert found["documents"].workers == 3
    assert (found["sft"].threads, found["sft"].cpus_per_worker) == (2, 2)
    assert (found["pretrain"].threads, found["pretrain"].cpus_per_worker) == (1, 1)
    assert (found["rl"].rollout_workers, found["rl"].rollout_threads, found["rl"].learner_threads) == (1, 4, 2)


def test_no_process_is_larger_than_a_node() -> None:
    found = configs(64, "cluster=ray", "cluster.address=http://head:8265")
    assert found["documents"].workers == 64, "tasks of one CPU go anywhere"
    assert (found["pretrain"].threads, found["pretrain"].cpus_per_worker) == (1, 1)
    assert (found["rl"].rollout_cpus, found["rl"].learner_cpus) == (0.9, 0.9), "and a tenth for the reward worker"


def test_page_workers_leave_the_ocr_actors_their_cpus() -> None:
    config = DocumentShards(ocr_actors=3, ocr_cpus=2).sized(Room(8, 8))
    assert (config.workers, config.demand().whole.cpus) == (2, 8)
    assert DocumentShards(ocr=False, ocr_actors=3).sized(Room(8, 8)).workers == 8


def test_eight_cpus_need_less_than_half_the_time_of_two() -> None:
    """Calculated (``critical_path``): only two cores were at hand. Starts of processes are a quarter of what eight need."""
    two, eight = demo_seconds(2), demo_seconds(8)
    assert max(eight.values()) <= 0.48 * max(two.values())
    data = ("documents", "videos", "captions", "text", "questions")
    assert max(eight[name] for name in data) - eight["corpus"] <= 0.8 * (
        max(two[name] for name in data) - two["corpus"]
    )


def test_threads_are_set_where_the_environment_says_one() -> None:
    """Every process of our Ray starts with OMP_NUM_THREADS=1; what a rank sets counts, for torch's own loops and MKL's."""
    code = "import torch; torch.set_num_threads(3); print(torch.__config__.parallel_info())"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "at::get_num_threads() : 3" in said
    assert "omp_get_max_threads() : 3" in said


def test_steps_that_share_the_cpus_keep_no_more_tasks_at_work_than_there_are(ray_session) -> None:
    """Three steps of two workers each on a Ray of two CPUs: two tasks at a time, and each step gets its turn."""
    from pipelines.workflow.backends.ray_executor import RayExecutor

    def spell(unit: int) -> tuple[float, float]:
        begun = time.time()
        while time.time() < begun + 0.2:
            pass
        return begun, time.time()

    done: dict[int, list[tuple[float, float]]] = {0: [], 1: [], 2: []}

    def step(number: int) -> None:
        done[number] += [times for _, times in RayExecutor().map(spell, range(4), Resources(), at_once=2)]

    threads = [threading.Thread(target=step, args=(number,)) for number in done]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    spells = [times for rows in done.values() for times in rows]
    assert len(spells) == 12
    for begun, _ in spells:
        assert sum(start <= begun < end for start, end in spells) <= 2
