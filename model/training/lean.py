"""Importing less, because every process of a gang pays for it: DeepSpeed's autotuner imports MLflow (2.2 s of its
3.0 s), its check for the Muon optimizer loads the torch compiler (1.7 s), transformers' detection losses import
scipy.optimize (1.2 s). None is used here, and the libraries take a missing package in their stride, so the packages
are hidden while the import runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Inside, importing one of the packages raises ModuleNotFoundError, unless it was imported before."""
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    hidden = [name for name in names if name not in modules]
    for name in hidden:
        modules[name] = None  # the documented way to make an import fail
    try:
        yield
    finally:
        for name in hidden:
            modules.pop(name, None)
