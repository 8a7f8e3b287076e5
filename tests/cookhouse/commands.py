"""The command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

REPOSITORY = Path(__file__).resolve().parents[2]
TOYS = REPOSITORY / "tests" / "workflow"
Found = TypeVar("Found")


def command(*arguments: str, **changes: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{TOYS}", "OMP_NUM_THREADS": "1", **changes}
    return [sys.executable, "-m", "cookhouse", *arguments], environment


def until(look: Callable[[], Found], process: subprocess.Popen[str]) -> Found:
    """What ``look`` finds once it finds something, while the process lives; the test's own time limit ends the wait."""
    while not (found := look()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return found


def read_until(words: str, process: subprocess.Popen[str]) -> str:
    """What a process writes to stderr up to the line that holds ``words``."""
    assert process.stderr is not None
    told = ""
    while words not in told:
        line = process.stderr.readline()
        assert line, f"it ended without '{words}': {told}"
        told += line
    return told
