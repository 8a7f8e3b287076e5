"""What one core of this machine computes: GFLOP/s of a square matrix product on one thread, by torch.

Figures of different machines compare as multiples of this product, and a CPU without bfloat16 shows itself here: it
emulates, and its bfloat16 product is slower than its float32 one (on an AVX2 CPU some fifty times). Measured, because no
list of CPU flags says what the libraries do with them. Takes milliseconds once torch is imported, which happens inside
the functions: the command asks for the CPU's name without torch.
"""

from __future__ import annotations

import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Dtype = Literal["float32", "bfloat16"]
EMULATED_FROM = 1.5  # times slower than float32; a CPU that has bfloat16 is never slower in it


@dataclass(frozen=True)
class Calibration:
    """The CPU's name, and GFLOP/s of one thread in each type."""

    cpu: str
    float32: float
    bfloat16: float

    @property
    def slowdown(self) -> float:
        """How many times longer a product takes in bfloat16 than in float32."""
        return self.float32 / self.bfloat16

    @property
    def emulated(self) -> bool:
        """Whether bfloat16 costs speed here instead of saving time."""
        return self.slowdown > EMULATED_FROM


def calibrate() -> Calibration:
    """Measure this machine (the CPU, whatever accelerators it has)."""
    return Calibration(cpu_name(), measure("float32"), measure("bfloat16"))


def measure(dtype: Dtype, size: int = 256, seconds: float = 0.02) -> float:
    """GFLOP/s of ``[size, size] @ [size, size]`` on one thread: 2 size^3 operations / the median CPU time of the repeats
    (three at least, then as many as ``seconds`` allow); CPU time, so that other work on the machine takes nothing away.
    The process's thread count is left as it was."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        left, right = torch.ones(2, size, size, dtype=getattr(torch, dtype))
        torch.mm(left, right)  # the first product picks its kernel
        times: list[float] = []
        while len(times) < 3 or sum(times) < seconds:
            start = time.thread_time()
            torch.mm(left, right)
            times.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return 2 * size**3 / statistics.median(times) / 1e9


def cpu_name() -> str:
    """The model name the kernel reports, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
