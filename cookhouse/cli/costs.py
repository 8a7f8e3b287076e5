"""How long the steps of a run will take here: earlier results of the store say it, else the figures that the recipe ships,
scaled by what a core of this machine computes. Rules of thumb."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from cookhouse.cli.words import duration

if TYPE_CHECKING:
    from cookhouse.project import Project
    from pipelines.workflow.estimate import Estimate
    from pipelines.workflow.plan import Plan

CALIBRATE = "from model.calibrate import measure; print(measure('float32', seconds=0.5))"


def core_gflops() -> float | None:
    """GFLOP/s of a float32 matrix product on one core; None where torch is not installed or does not load. Measured in a
    process of its own, so that torch does not stay in the memory of this one."""
    from pipelines.core.storage import INSTALLED

    if importlib.util.find_spec("torch") is None:
        return None
    done = subprocess.run([sys.executable, "-c", CALIBRATE], cwd=INSTALLED, capture_output=True, text=True)
    return float(done.stdout) if done.returncode == 0 else None


def costs(
    project: Project, plan: Plan, limit: int | None = None, measure: Callable[[], float | None] = core_gflops
) -> tuple[dict[str, Estimate], float | None]:
    """Estimates by step, and the GFLOP/s of a core if they rest on it (it is measured only then)."""
    from pipelines.workflow.estimate import estimate

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
    from pipelines.workflow.estimate import total

    whole = total(estimates)
    if whole.unknown == len(estimates):
        return ""
    basis = f"float32 product on one core: {gflops:.0f} GFLOP/s" if gflops else "going by earlier results"
    steps = f"{whole.unknown} step{'' if whole.unknown == 1 else 's'}"
    more = f", and {steps} of unknown length" if whole.unknown else ""
    return f"takes about {duration(whole.seconds)} on this CPU ({basis}){more}"
