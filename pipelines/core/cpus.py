"""How many CPUs, GPUs and bytes of memory were given, and how they are dealt out to the processes and threads of a step.
Pure but for ``given_*``, which ask the machine.

A ``Runtime`` number that is ``FOLLOWS`` follows the CPUs; ``StageConfig.sized`` fills it in when a recipe is read, so that
the plan, the attempt and what is reserved at Ray all see the same number.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.executor import Resources

FOLLOWS = 0
MOST_THREADS = 8
"""Threads of one process at most: one matrix product of a small model is not worth more, and each thread waits for all."""

QUOTA, MEMORY_LIMIT = Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/memory.max")
DEVICES = Path("/dev")


@dataclass(frozen=True)
class Room:
    """``cpus`` that steps may keep busy side by side, and the most of them one process can have: those of a ``node``; the
    cluster's ``gpus``, and its ``memory`` in bytes (0: not known)."""

    cpus: int
    node: int
    gpus: float = 0
    memory: int = 0

    @property
    def whole(self) -> Resources:
        return Resources(self.cpus, self.gpus, self.memory)

    def threads(self, processes: int) -> int:
        """Threads of each of ``processes`` that share the room, at least 1: 4 for 2 ranks on 8 CPUs."""
        return max(1, min(self.cpus // processes, self.node, MOST_THREADS))


def given_cpus() -> int:
    """CPUs this process may use: those it is bound to, and no more than its container's quota pays for (cgroup v2)."""
    bound = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):  # no cgroup v2, or no limit: "max 100000"
        quota, period = QUOTA.read_text().split()
        return max(1, min(bound, int(quota) // int(period)))
    return bound


def given_gpus() -> int:
    """NVIDIA GPUs this process may use: those that ``CUDA_VISIBLE_DEVICES`` leaves of the devices that are there."""
    there = sum(path.name.removeprefix("nvidia").isdigit() for path in DEVICES.glob("nvidia*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if visible is None else min(there, sum(name.strip() not in ("", "-1") for name in visible.split(",")))


def given_memory() -> int:
    """Bytes of memory: the machine's, and no more than its container's limit (cgroup v2)."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no cgroup v2, or no limit: "max"
        return min(there, int(MEMORY_LIMIT.read_text()))
    return there
