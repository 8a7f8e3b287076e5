"""How long the demo takes on so many CPUs, calculated: the steps of ``recipe=tiny`` as they are sized for them, started
by the run's own rule of admission, with seconds that were measured once on two cores.

Measured (AVX2, float32, 2026-11-28; ``docs/performance.md``): units of the data steps; a training step, an update's
learning and its sampling, with one thread and with two, from which the share that threads do not shorten follows by
Amdahl's law; 14 s until a gang of Ray Train takes its first step, 10 s until an RL crew does. On two CPUs the whole
comes to 8.0 minutes, as the demo these are of did. Assumed: that a share stays what it is up to eight threads; 3 s to
start a step's process, 3 s for each process that loads torch and 1 s for one that does not; a tenth of a training
step for the exchange of gradients; a tenth of a second of an update for weights and judging. Memory bandwidth is not
in it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cookhouse.project import load_project
from pipelines.core.executor import Demand, Resources
from pipelines.workflow.ready import ReadySet, admits
from pipelines.workflow.recipe import Step

START, GANG, CREW, TORCH, PLAIN = 3.0, 14.0, 10.0, 3.0, 1.0
EXCHANGE, UPDATE = 0.1, 0.1
PACK_TOKENS = 6000
ALIGN, PERCEIVE, KNOW = (0.68, 0.16), (0.96, 0.14), (1.27, 0.08)
"""(seconds of a step of one rank on a pack of ``PACK_TOKENS`` with one thread, share of them that threads do not shorten)"""
LEARN, LONG_CHUNK = (1.7, 0.17), (0.4, 0.44)
SHORT_CHUNK_S = 0.15  # two of either in a batch
CHUNK_S, CHUNKS = 1.3, 75  # those of pictures among them

UNITS: Mapping[str, list[float]] = {
    "documents": [8.3, 1.6, 1.5, 1.5, 1.4, 1.4, 1.4, 1.4, 1.1],
    "questions": [0.48] * 11,
    "videos": [0.05] * 3,
    "captions": [0.04] * 2,
    "text": [0.02] * 4,
    "evaluate": [CHUNK_S] * CHUNKS,
}


@dataclass
class Job:
    """What a step does once it is started: ``alone`` seconds that no CPU shortens, then its tasks of a CPU each; ``each`` is
    what a worker needs before its first."""

    alone: float
    tasks: list[float]
    workers: int = 1
    each: float = 0.0


def faster(work: tuple[float, float], threads: int) -> float:
    """Seconds with ``threads`` threads (Amdahl)."""
    seconds, stays = work
    return seconds * (stays + (1 - stays) / threads)


def job_of(step: Step, cpus: int) -> Job:
    """The work of a step of ``recipe=tiny``."""
    config = step.config
    if step.name in UNITS:
        each = TORCH if step.name == "evaluate" else PLAIN
        return Job(START, list(UNITS[step.name]), config.workers, each)
    if step.name == "corpus":
        return Job(START + 7.3, [])
    if step.name == "reading":
        return Job(START + TORCH, [])
    if step.name == "rl":
        learn = faster(LEARN, config.learner_threads) / config.learners
        long = faster(LONG_CHUNK, config.rollout_threads)
        sample = max(long, 2 * (long + SHORT_CHUNK_S) / config.rollout_workers)
        # where there are fewer CPUs than processes they take turns
        busy = (LEARN[0] + 2 * (LONG_CHUNK[0] + SHORT_CHUNK_S)) / cpus
        return Job(START + CREW + len(config.seeds) * config.steps * (max(learn, sample, busy) + UPDATE), [])
    kinds = [ALIGN, PERCEIVE, KNOW] if step.name == "pretrain" else [KNOW, KNOW]
    steps = [phase.steps * phase.tokens_per_pack / PACK_TOKENS for phase in config.phases]
    seconds = sum(count * (faster(kind, config.threads) + EXCHANGE * kind[0]) for kind, count in zip(kinds, steps))
    return Job(START + GANG + seconds, [])


def demo_seconds(cpus: int, job: Callable[[Step, int], Job] = job_of) -> dict[str, float]:
    """Step -> when it ends."""
    steps = {step.name: step for step in load_project(["recipe=tiny", f"cluster.num_cpus={cpus}"]).steps}
    ready = ReadySet({name: step.parents for name, step in steps.items()})
    running: dict[str, Job] = {}
    begun: dict[str, int] = {}
    ends: dict[str, float] = {}
    flying: dict[str, int] = {}
    events: list[tuple[float, str, bool]] = []  # (time, step, a task ended and not its start)
    now = 0.0
    while len(ends) < len(steps):
        while name := ready.take(
            lambda name: admits(demand(steps[name]), [demand(steps[n]) for n in running], Resources(cpus), None)
        ):
            running[name], begun[name], flying[name] = job(steps[name], cpus), 0, -1
            heapq.heappush(events, (now + running[name].alone, name, False))
        now, name, task = heapq.heappop(events)
        flying[name] = flying[name] - 1 if task else 0
        for other in sorted(running, key=lambda name: flying[name]):  # Ray favours the job with fewest tasks
            work = running[other]
            while work.tasks and 0 <= flying[other] < work.workers and sum(max(0, n) for n in flying.values()) < cpus:
                seconds = work.tasks.pop(0) + (work.each if begun[other] < work.workers else 0.0)
                begun[other] += 1
                flying[other] += 1
                heapq.heappush(events, (now + seconds, other, True))
        for done in [name for name, work in running.items() if not work.tasks and flying[name] == 0]:
            ends[done] = now
            del running[done]
            ready.finish(done, ok=True)
    return ends


def demand(step: Step) -> Demand:
    """As the runner asks."""
    wanted: Demand = step.config.demand()
    return wanted if step.definition.uses_ray else Demand(wanted.whole)
