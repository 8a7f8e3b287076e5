"""Functions the sandbox tests run in the child: good, slow, crashing, greedy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines.core.sandbox import SandboxError


def double(x: int) -> int:
    print("noise on standard output must not break the protocol")  # noqa: T201
    return 2 * x


def count(n: int, hang_at: int = -1) -> Iterator[np.ndarray]:
    for i in range(n):
        if i == hang_at:
            time.sleep(600)
        yield np.full((64, 64, 3), i, np.uint8)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def greedy(size: int) -> int:
    return len(bytearray(size))


def refuse() -> None:
    raise SandboxError("encrypted", "needs a password")


def fail() -> None:
    raise ValueError("bad\nbytes")


def slow_once(marker: str) -> str:
    path = Path(marker)
    if not path.exists():
        path.touch()
        time.sleep(600)
    return "second"


def pid() -> int:
    return os.getpid()


def pictures(n: int, size: int) -> Iterator[tuple[int, np.ndarray]]:
    for i in range(n):
        yield i, np.full(size, i, np.uint8)
