from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "pipelines.documents.engine",
        "pipelines.documents.layout",
        "pipelines.documents.plan",
        "pipelines.documents.routing",
        "pipelines.corruption.view",
    ],
)
def test_worked_examples_are_true(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
