"""Costs are told from earlier results of the same stage, scaled by what there is to do, and unknown without any."""

from __future__ import annotations

import pytest
from toy_recipe import carry_out, recipe

from pipelines.workflow.estimate import Estimate, Load, estimate, scaled, steps_of, total
from pipelines.workflow.files import write_json


def test_a_stage_that_never_ran_is_unknown(planned) -> None:
    costs = estimate(planned(recipe()))
    assert {name: cost.seconds for name, cost in costs.items()} == {"numbers": None, "squares": None, "total": None}
    assert total(costs).unknown == 3


def test_source_bytes_scale_the_step_and_samples_what_reads_it(planned, store, tmp_path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for folder, count in ((small, 2), (large, 6)):
        folder.mkdir()
        for index in range(count):
            (folder / f"{index}.txt").write_text("x" * 10)
    results = carry_out(store, planned(recipe({"source": str(small)})))
    before = {name: result.record.data for name, result in results.items()}
    write_json(results["numbers"].record.folder / "artifact.json", {**before["numbers"], "seconds": 10.0})
    costs = estimate(planned(recipe({"source": str(large)})))
    assert costs["numbers"].samples == 6
    assert costs["numbers"].bytes == 3 * before["numbers"]["bytes"]
    assert costs["numbers"].seconds == 30.0
    assert "3 times its source bytes" in costs["numbers"].basis
    assert costs["squares"].samples == 6, "from the estimate of its input"
    assert "3 times its samples" in costs["squares"].basis
    assert total(costs).unknown == 0


def test_what_exists_costs_nothing(planned, store) -> None:
    carry_out(store, planned(recipe()))
    assert set(estimate(planned(recipe(total={"stage": "toy_total", "inputs": {"terms": "squares"}, "bias": 2})))) == {
        "total"
    }


def test_optimizer_steps_decide_for_training() -> None:
    assert steps_of({"phases": [{"steps": 40}, {"steps": 30, "steps_per_x": 7}], "seed": 3}) == 70


@pytest.mark.parametrize(
    ("now", "then", "seconds", "basis"),
    [
        (Load("steps", 100), Load("steps", 50), 20.0, "2 times its steps"),
        (Load("samples", 100), Load("steps", 50), 10.0, "as "),
        (None, Load("steps", 50), 10.0, "as "),
        (Load("steps", 50), Load("steps", 0), 10.0, "as "),
    ],
)
def test_loads_that_cannot_be_compared_change_nothing(now, then, seconds, basis, planned, store) -> None:
    record = carry_out(store, planned(recipe()))["numbers"].record
    fixed = type(record)(record.folder, 1, {**record.data, "seconds": 10.0})
    cost = scaled(fixed, now, then)
    assert isinstance(cost, Estimate)
    assert cost.seconds == seconds
    assert basis in cost.basis
