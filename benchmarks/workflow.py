"""What the workflow itself costs: a step of nothing in process and as a Ray job, and plans of up to 10,000 steps.

    python -m benchmarks.workflow                all of it (about three minutes)
    python -m benchmarks.workflow overhead       a step in process, and over a warm local Ray
    python -m benchmarks.workflow plans          planning and running simulated plans

Bars. *In process*: an empty step (lease, attempt, spec, stage, manifest, commit, events) takes under 50 ms. *Ray jobs*: an
empty step over a warm local Ray takes under 6 s and at most 1.5 times the floor, which is ``ray job submit`` of an empty
script on the same Ray, in turns with it; and 1.5 times the same job sent through Ray's client library, which leaves out the
start of that command and is the harder bar. *Plans*: time and memory a step at 10,000 steps are at most 1.5 times those of
the smallest size.

Wall time, medians: these are latencies. The simulated runs work in memory (``/dev/shm``), so that the disk's fsync does
not hide the program's own cost; every third step reads the two before it.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Bar, finish
from pipelines.core.identity import Identity, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage

SIZES = (1_000, 2_000, 5_000, 10_000)
RUN_SIZES = (500, 1_000, 2_000, 10_000)
STEPS_IN_PROCESS, JOBS = 30, 5


class Nothing(StageConfig):
    salt: Identity[int] = 0


@stage("nothing", code_version=1, optional_inputs=("before",), deterministic="bytes", uses_ray=False)
def nothing(config: Nothing, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    return {"samples": 0}


def recipe(count: int) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    for index in range(count):
        inputs = {"before": [f"s{index - 1}", f"s{index - 2}"]} if index % 3 == 2 else {}
        steps[f"s{index}"] = {"stage": "nothing", "salt": index, "inputs": inputs}
    return steps


class Deaf:
    """A listener that keeps nothing."""

    def event(self, kind: str, **fields: Any) -> None:
        pass

    def progress(self, step: str, events: Any) -> None:
        pass


def plan_of(store: Any, count: int) -> Any:
    from pipelines.workflow.plan import key_steps, make_plan
    from pipelines.workflow.recipe import parse_steps
    from pipelines.workflow.survey import survey

    steps = parse_steps(recipe(count), {"nothing": "benchmarks.workflow:nothing"}, lambda path: "")
    keyed = key_steps(steps, store.cache, limit=None, origin=lambda path: "")
    return make_plan(keyed, survey(store, keyed))


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_process(folder: Path) -> float:
    """Median seconds of a run of one empty step, plan included."""
    from pipelines.workflow.backends.inprocess import InProcess
    from pipelines.workflow.runner import Runner
    from pipelines.workflow.store import Store

    took = []
    for index in range(STEPS_IN_PROCESS):
        store = Store(folder / f"in-process-{index}")

        def one(store: Any = store) -> None:
            results = Runner(store, plan_of(store, 1), InProcess, Deaf(), run_id="b").run()
            assert results["s0"].status == "ok"

        took.append(seconds(one))
    return statistics.median(took)


def over_ray(folder: Path) -> dict[str, float]:
    """Median seconds of an empty step as a Ray job, of ``ray job submit`` and of the client library, in turns."""
    from pipelines.core.executor import Resources
    from pipelines.workflow.backends.local_ray import LocalRay
    from pipelines.workflow.backends.ray_jobs import RayJobs
    from pipelines.workflow.runner import Runner
    from pipelines.workflow.store import Store

    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    cluster = LocalRay(folder, Resources(2), object_store_mb=100, start_timeout_s=300, stop_wait_s=5)
    cluster.start(keep=True)
    try:
        address = cluster.wait()["dashboard"]
        os.environ.update(cluster.client_environment)
        environment = dict(os.environ)
        submit = [str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", address, "--"]
        script = [sys.executable, "-c", "pass"]
        took: dict[str, list[float]] = {"step": [], "ray job submit": [], "client library": []}
        for turn in range(JOBS + 1):
            store = Store(folder / f"ray-{turn}")

            def step(store: Any = store) -> None:
                backend = RayJobs(cluster, "cookhouse.worker", keep=True)
                results = Runner(store, plan_of(store, 1), lambda: backend, Deaf(), run_id="b").run()
                assert results["s0"].status == "ok", results["s0"].error

            def command() -> None:
                subprocess.run([*submit, *script], env=environment, check=True, capture_output=True)

            def client() -> None:
                from ray.job_submission import JobSubmissionClient

                jobs = JobSubmissionClient(address)
                name = jobs.submit_job(entrypoint=" ".join([sys.executable, "-c", "pass"]), entrypoint_num_cpus=0)
                while not jobs.get_job_status(name).is_terminal():
                    time.sleep(0.1)
                assert jobs.get_job_status(name).name == "SUCCEEDED"

            turns = [("step", step), ("ray job submit", command), ("client library", client)]
            for name, call in turns if turn % 2 else turns[::-1]:
                found = seconds(call)
                if turn:  # the first turn warms up
                    took[name].append(found)
        return {name: statistics.median(values) for name, values in took.items()}
    finally:
        cluster.stop()


def simulate(kind: str, count: int) -> int:
    """One size in a process of its own: seconds and the peak memory above the start, as one line."""
    import pipelines.workflow.files as files
    from pipelines.workflow.backends.inprocess import InProcess
    from pipelines.workflow.runner import Runner
    from pipelines.workflow.store import Store

    files.os.fsync = lambda handle: None  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        store = Store(folder)
        plan_of(store, 10)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        plan = None
        if kind == "plan":
            took = seconds(lambda: plan_of(store, count))
        else:
            plan = plan_of(store, count)
            took = seconds(lambda: Runner(store, plan, InProcess, Deaf(), run_id="b").run())
            assert all(step.facts.record is not None for step in plan_of(store, count).steps), "every step was made"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(f"{took} {(peak - before) * 1024}\n")
    return 0


def sizes(kind: str, counts: tuple[int, ...]) -> list[tuple[int, float, float]]:
    """(steps, seconds, bytes) of each size."""
    found = []
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.workflow", "simulate", kind, str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        took, memory = done.stdout.split()
        found.append((count, float(took), float(memory)))
        print(f"  {kind:4} {count:6,} steps  {float(took):7.2f} s  {float(memory) / 2**20:7.1f} MiB", flush=True)
    return found


def growth(found: list[tuple[int, float, float]], column: int) -> float | None:
    """Cost a step at the largest size over that at the smallest; None where the smallest cost nothing that could be
    measured (its memory fits into what the interpreter held already)."""
    first, last = found[0], found[-1]
    return (float(last[column]) / last[0]) / (float(first[column]) / first[0]) if first[column] else None


def main(words: list[str]) -> int:
    if words[:1] == ["simulate"]:
        return simulate(words[1], int(words[2]))
    bars = []
    if words in ([], ["overhead"]):
        with tempfile.TemporaryDirectory() as folder:
            step = in_process(Path(folder)) * 1e3
            print(f"  empty step in process: {step:.1f} ms", flush=True)
            bars.append(Bar("empty step in process", step, "<=", 50, "ms"))
            ray = over_ray(Path(folder))
            for name, value in ray.items():
                print(f"  {name:14} {value:6.2f} s", flush=True)
            bars.append(Bar("empty step over a warm local Ray", ray["step"], "<=", 6, "s"))
            bars.append(Bar("the same over ray job submit", ray["step"] / ray["ray job submit"], "<=", 1.5))
            bars.append(Bar("the same over the client library", ray["step"] / ray["client library"], "<=", 1.5))
    if words in ([], ["plans"]):
        for kind, counts in (("plan", SIZES), ("run", RUN_SIZES)):
            found = sizes(kind, counts)
            label = f"{kind}: {{}} a step, {counts[-1]:,} steps over {counts[0]:,}"
            bars.append(Bar(label.format("time"), growth(found, 1), "<=", 1.5))
            bars.append(Bar(label.format("memory"), growth(found, 2), "<=", 1.5))
    return finish("workflow", [], bars)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
