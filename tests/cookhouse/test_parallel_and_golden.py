from __future__ import annotations

import json

import pytest

from cookhouse.cli.closing import budget, count
from cookhouse.stages import STAGES
from pipelines.core.executor import InProcess, Resources
from pipelines.tracking.describe import main_metric


def test_in_this_process_units_run_in_order() -> None:
    assert list(InProcess().map(abs, iter([-2, 1]), Resources(), at_once=4)) == [(-2, 2), (1, 1)]


def test_the_keys_of_shipped_recipes_are_committed() -> None:
    """A failure here means: users' results are made anew. If that is wanted: python -m cookhouse.golden_keys --write"""
    from cookhouse.golden_keys import FILE, golden_keys

    assert golden_keys() == json.loads(FILE.read_text())


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_loads_without_heavy_packages(name) -> None:
    from pipelines.workflow.stage import load_stage

    assert load_stage(STAGES[name]).name == name


def test_the_closing_figures() -> None:
    assert count({"samples": 1200}) == "1,200"
    assert count({"optimizer_steps": 300, "samples": 5}) == "300 steps"
    assert main_metric({"main_metric": ["cer", 0.312345]}) == "cer 0.3123"
    assert main_metric({}) == ""
    lines = budget({"a": 6.0, "b": 3.0}, 10.0)
    assert lines[0] == "time budget: 10 s"
    assert "60%" in lines[1]
    assert lines[1].endswith("#" * 18)
    assert "(start and end)" in lines[3]
    assert "10%" in lines[3]
