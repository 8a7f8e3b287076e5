"""The command line in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TOYS = REPOSITORY / "tests" / "workflow"


def command(*arguments: str, **changes: str) -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{TOYS}", "OMP_NUM_THREADS": "1", **changes}
    return [sys.executable, "-m", "cookhouse", *arguments], environment
