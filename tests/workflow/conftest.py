"""The toy stages as modules of their own, importable here and in worker processes."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from toy_recipe import make_plan_of

from pipelines.workflow.plan import Plan
from pipelines.workflow.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


@pytest.fixture
def planned(store: Store) -> Callable[..., Plan]:
    """``planned(recipe(), limit=, only=, until=, force=)`` against the store."""
    return functools.partial(make_plan_of, store)
