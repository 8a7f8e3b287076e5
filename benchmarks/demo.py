"""The demo as a slow machine runs it: each step's wall and CPU seconds, peak memory, and whether it keeps its budget.

    python -m benchmarks.demo                           recipe=tiny, whole, kernels held to AVX2
    python -m benchmarks.demo --plain                   with all this CPU has
    python -m benchmarks.demo recipe=data documents     other words go to ``cookhouse run``; the bars are not compared

``AVX2`` keeps the kernels of torch and oneDNN to AVX2, and those of MKL where MKL obeys (on some CPUs it does not), so the
float32 speed reached is printed beside the figures. CPU seconds of different machines compare as *products*: how many
products of two 1024 x 1024 float32 matrices (2.147 GFLOP) one core computes in that time, measured before and after the
run under the same variables.

CPU seconds are those of the process tree, Ray's workers included, while the step runs. Where steps overlap, the time they
share is charged to them in equal parts (``shared s``); what no step ran in is *start and end*. Memory is the whole
machine's above what it used at the start, so nothing else should run. Bars: 20 minutes (the goal is 15), 8 GB.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness import Bar, Meter, conclude

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
LIMIT_MIN, GOAL_MIN, LIMIT_GB = 20.0, 15.0, 8.0
PRODUCT = 1024
PRODUCT_GFLOP = 2 * PRODUCT**3 / 1e9
REST = "(start and end)"
ASK = f"from model.calibrate import cpu_name, measure; print(measure('float32', {PRODUCT}, 0.5), cpu_name())"


@dataclass(frozen=True)
class Moment:
    """A look at the process tree: seconds since the epoch, and two lower bounds of the CPU seconds so far (see
    ``Meter``)."""

    time: float
    waited: float
    seen: float


@dataclass(frozen=True)
class StepCost:
    """``shared_s``: of ``wall_s``, how long other steps ran beside it. ``products``: of ``PRODUCT``."""

    step: str
    wall_s: float
    cpu_s: float
    shared_s: float
    products: float


class MachineMeter(Meter):
    """A ``Meter`` that keeps what it saw, and the most memory the machine used above the start."""

    def __enter__(self) -> MachineMeter:
        self.moments: list[Moment] = []
        self.idle = self.most = used_memory()
        super().__enter__()
        return self

    def _sample(self, first: bool = False) -> int:
        waited = super()._sample(first)
        self.most = max(self.most, used_memory())
        seen = sum(ticks - self._first.get(process, 0) for process, ticks in self._last.items())
        tick = os.sysconf("SC_CLK_TCK")
        self.moments.append(Moment(time.time(), waited / tick, seen / tick))
        return waited


def used_memory() -> int:
    """Bytes of the whole machine that are in use: MemTotal - MemAvailable."""
    rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    sizes = {row[0].rstrip(":"): int(row[1]) for row in rows}
    return (sizes["MemTotal"] - sizes["MemAvailable"]) * 1024


def costs(
    windows: Mapping[str, tuple[float, float]], moments: Sequence[Moment], product_s: float
) -> tuple[StepCost, ...]:
    """CPU seconds by step from the windows they ran in (seconds since the epoch) and the looks, then ``REST``.

    Example: one step in [0, 10], one in [6, 12], looks every second, one core busy all the time: 8 and 4 seconds."""
    cpu = dict.fromkeys([*windows, REST], 0.0)
    shared = dict.fromkeys(cpu, 0.0)
    wall = {name: end - start for name, (start, end) in windows.items()} | {REST: 0.0}
    for before, after in itertools.pairwise(moments):
        middle = (before.time + after.time) / 2
        running = [name for name, (start, end) in windows.items() if start <= middle < end] or [REST]
        spent = max(0.0, after.waited - before.waited, after.seen - before.seen)
        for name in running:
            cpu[name] += spent / len(running)
            shared[name] += after.time - before.time if len(running) > 1 else 0.0
        if running == [REST]:
            wall[REST] += after.time - before.time
    return tuple(StepCost(name, wall[name], cpu[name], shared[name], cpu[name] / product_s) for name in cpu)


def windows_of(root: Path) -> dict[str, tuple[float, float]]:
    """When each step of the only run in ``root`` ran, from its events. A step that was started again counts from its
    first start."""
    from pipelines.core.events import read_events

    (file,) = (root / "runs").glob("*/events.jsonl")
    started: dict[str, float] = {}
    found = {}
    for event in read_events(file):
        if event["kind"] == "step_started":
            started.setdefault(event["step"], event["t"])
        elif event["kind"] == "step_finished" and event["step"] in started:
            found[event["step"]] = (started[event["step"]], event["t"])
    return found


def measured(environment: Mapping[str, str]) -> tuple[float, str]:
    """Float32 GFLOP/s of one core and the CPU's name, in a process of its own: torch reads the variables once."""
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, check=True, capture_output=True, text=True)
    speed, _, name = done.stdout.strip().partition(" ")
    return float(speed), name


def show(found: Sequence[StepCost]) -> None:
    """A table of the steps and their sum."""
    from rich.console import Console
    from rich.table import Table

    table = Table("step", box=None, pad_edge=False)
    for name in ("wall s", "CPU s", "shared s", "products"):
        table.add_column(name, justify="right")
    total = StepCost(
        "sum", *(sum(getattr(one, name) for one in found) for name in ("wall_s", "cpu_s", "shared_s", "products"))
    )
    for one in (*found, total):
        shared = f"{one.shared_s:.1f}" if one.shared_s else ""
        table.add_row(one.step, f"{one.wall_s:.1f}", f"{one.cpu_s:.1f}", shared, f"{one.products:,.0f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)


def main(words: Sequence[str]) -> int:
    given = [word for word in words if word != "--plain"]
    held = {} if "--plain" in words else AVX2
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **held}
    before, cpu = measured(environment)
    variables = " ".join(f"{name}={value}" for name, value in held.items()) or "no variables"
    print(f"{cpu}, {os.cpu_count()} cores, {variables}: {before:.1f} GFLOP/s in float32 on one core", flush=True)
    with tempfile.TemporaryDirectory(prefix="cookhouse-demo-") as folder:
        root = Path(folder) / "artifacts"
        command = [sys.executable, "-m", "cookhouse", "run", *(given or ["recipe=tiny"]), f"storage.root={root}"]
        with MachineMeter(every_s=0.5) as meter:
            code = subprocess.run(command, env=environment).returncode
        if code:
            print(f"the run ended with code {code}: no figures")
            return code
        windows = windows_of(root)
    after, _ = measured(environment)
    speed = (before + after) / 2
    found = costs(windows, meter.moments, PRODUCT_GFLOP / speed)
    show(found)
    products = sum(one.products for one in found)
    minutes, memory = meter.usage.wall_s / 60, (meter.most - meter.idle) / 1e9
    print(
        f"  {minutes:.1f} min (goal {GOAL_MIN:g}), {memory:.1f} GB above the idle machine; float32 {before:.1f} GFLOP/s"
        f" before, {after:.1f} after; {products:,.0f} products of {PRODUCT} x {PRODUCT} x {PRODUCT} on one core"
    )
    bars = [
        Bar("the whole demo", None if given else minutes, "<=", LIMIT_MIN, "min"),
        Bar("its memory above the idle machine", None if given else memory, "<=", LIMIT_GB, "GB"),
    ]
    rows = [asdict(one) for one in found]
    return conclude("demo", rows, bars, cpu=cpu, variables=held, float32_gflops=[before, after], products=products)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
