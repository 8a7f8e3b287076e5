"""What a plan will cost here, in words: time, disk and CPUs. Earlier results of the store say it (``workflow.estimate``),
else the figures that the recipe ships, scaled by what a core of this machine computes. Rules of thumb."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cookhouse.cli.words import duration, size
from cookhouse.project import Project
from pipelines.core.errors import ConfigError
from pipelines.core.storage import INSTALLED, Place
from pipelines.workflow import files
from pipelines.workflow.estimate import Estimate, estimate, total
from pipelines.workflow.plan import Plan, PlannedStep
from pipelines.workflow.store import Store

CALIBRATE = "from model.calibrate import measure; print(measure('float32', seconds=0.5))"


def core_gflops() -> float | None:
    """GFLOP/s of a float32 matrix product on one core; None where torch is not installed or does not load. Measured in a
    process of its own, so that torch does not stay in the memory of this one."""
    if importlib.util.find_spec("torch") is None:
        return None
    done = subprocess.run([sys.executable, "-c", CALIBRATE], cwd=INSTALLED, capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else None


def costs(
    project: Project, plan: Plan, limit: int | None = None, measure: Callable[[], float | None] = core_gflops
) -> tuple[dict[str, Estimate], float | None]:
    """Estimates by step, and the GFLOP/s of a core if they rest on it (it is measured only then)."""
    found = estimate(plan)
    figures = shipped(project, limit)
    missing = {name: figures[name] for name, cost in found.items() if cost.seconds is None and name in figures}
    speed = measure() if missing else None
    if speed is None:
        return found, None
    for name, seconds in missing.items():
        scaled = seconds * project.settings.reference.gflops / speed
        found[name] = replace(found[name], seconds=round(scaled, 1), basis="the recipe's figure")
    return found, speed


def shipped(project: Project, limit: int | None) -> dict[str, float]:
    """The recipe's figures of the steps that run as shipped: none with a limit, other sources or another model, not that
    of a step with an override."""
    names = [text.lstrip("+~").partition("=")[0].split(".") for text in project.composed.overrides]
    if limit is not None or any(name[0] in ("source", "model") for name in names):
        return {}
    changed = {name[1] for name in names if name[0] == "steps" and len(name) > 1}
    return {step: seconds for step, seconds in project.settings.reference.seconds.items() if step not in changed}


def outlook(estimates: Mapping[str, Estimate], gflops: float | None) -> str:
    """``takes about 12 min on this CPU (float32 product on one core: 112 GFLOP/s), and 2 steps of unknown length``."""
    whole = total(estimates)
    if whole.unknown == len(estimates):
        return ""
    basis = f"float32 product on one core: {gflops:.0f} GFLOP/s" if gflops else "going by earlier results"
    steps = f"{whole.unknown} step{'' if whole.unknown == 1 else 's'}"
    more = f", and {steps} of unknown length" if whole.unknown else ""
    return f"takes about {duration(whole.seconds)} on this CPU ({basis}){more}"


def wants(step: PlannedStep) -> str:
    """``8 CPUs, 2 GPUs (ranks 2, threads of each 4)``."""
    config = step.keyed.step.config
    return f"{config.demand().whole} ({config.asks()})"


def words_of(cost: Estimate) -> str:
    """``about 2 min, 12 MB (documents-5a8b767184b6 at 2.5 times its source bytes)``."""
    if cost.seconds is None or cost.bytes is None:
        return "cost unknown"
    return f"about {duration(cost.seconds)}, {size(cost.bytes)} ({cost.basis})"


def conclusion(made: Plan, estimates: Mapping[str, Estimate], root: Place) -> list[str]:
    """The last lines: how much there is to do, and whether the disk holds it."""
    if made.blocked:
        return [f"{len(made.blocked)} of {len(made.steps)} steps are blocked"]
    if not made.work:
        return [f"nothing to do: all {len(made.steps)} steps exist"]
    line = f"{len(made.work)} of {len(made.steps)} steps to make"
    whole = total(estimates)
    if whole.unknown < len(estimates):
        more = f" and {whole.unknown} of unknown cost" if whole.unknown else ""
        line += f": about {duration(whole.seconds)} of work and {size(whole.bytes)}{more}"
    free = free_bytes(root)
    return [line] if free is None else [f"{line}; {size(free)} free at {root}"]


def free_bytes(root: Place) -> int | None:
    """Free bytes of the disk a local root lies on or would lie on; None for a remote one."""
    return files.free_bytes(root) if isinstance(root, Path) else None


def refuse_full_disk(plan: Plan, store: Store) -> None:
    """Raises ConfigError when earlier results say that the disk will not hold this."""
    free = free_bytes(store.root)
    if free is not None and (expected := total(estimate(plan)).bytes) > free:
        raise ConfigError(
            f"about {size(expected)} would be written and {size(free)} are free",
            where=str(store.root),
            why="going by earlier results (cookhouse plan)",
            do="free some space (cookhouse gc), choose storage.root=/big/disk, or start all the same with --yes",
        )
