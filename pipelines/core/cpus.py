"""How many CPUs were given, and how they are dealt out to the processes and threads of a step. Pure but for
``given_cpus``, which asks the machine.

A ``Runtime`` number that is ``FOLLOWS`` follows the CPUs; ``StageConfig.sized`` fills it in when a recipe is read, so that
the plan, the attempt and what is reserved at Ray all see the same number.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOLLOWS = 0
MOST_THREADS = 8
"""Threads of one process at most: one matrix product of a small model is not worth more, and each thread waits for all."""

QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Room:
    """``cpus`` that steps may keep busy side by side, and the most of them one process can have: those of a ``node``."""

    cpus: int
    node: int

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
