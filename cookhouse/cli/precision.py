"""Steps that ask for bfloat16 on a CPU that emulates it: found by measuring, said before anything starts.

A recipe has one key on every machine, so the machine may not choose the precision; it may only warn.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cookhouse.cli.failures import say

if TYPE_CHECKING:
    from cookhouse.project import Project
    from model.calibrate import Calibration
    from pipelines.workflow.recipe import Step


def warn_of_emulation(project: Project, steps: Iterable[Step]) -> None:
    """Say which of ``steps`` would crawl here, and what to set. Measures (torch's import and some milliseconds) only when
    one of them asks for bfloat16 on this machine's CPU: a cluster elsewhere has CPUs of its own."""
    configs = {step.shown: step.config for step in steps}
    names = [name for name, config in configs.items() if getattr(config, "precision", None) == "bf16"]
    names = [name for name in names if not configs[name].demand().whole.gpus]
    measured = calibration() if names and project.settings.cluster.address is None else None
    if measured is not None and measured.emulated:
        say(
            f"warning: {', '.join(names)} will be slow: asked for bf16, which this CPU ({measured.cpu}) emulates\n"
            f"  why: {speeds(measured)}; bfloat16 takes {measured.slowdown:.0f} times as long\n"
            f"  do: {' '.join(f'steps.{name}.precision=fp32' for name in names)}"
        )


def calibration() -> Calibration | None:
    """What this CPU computes; None where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    from model.calibrate import calibrate

    return calibrate()


def speeds(measured: Calibration) -> str:
    """``61 GFLOP/s in float32, 1.2 in bfloat16 (one core, 256 x 256 product)``."""
    return (
        f"{measured.float32:.3g} GFLOP/s in float32, {measured.bfloat16:.3g} in bfloat16 (one core, 256 x 256 product)"
    )
