"""The planner against a store that toy stages filled: every decision with its reason."""

from __future__ import annotations

import json
import time

import pytest
from toy_recipe import carry_out, recipe

from pipelines.core.errors import ConfigError
from pipelines.workflow.lease import Lease


def decisions(plan):
    return {step.name: str(step.decision) for step in plan.steps}


def test_first_run_then_hits(planned, store) -> None:
    plan = planned(recipe())
    assert decisions(plan) == {"numbers": "RUN", "squares": "RUN", "total": "RUN"}
    assert plan["numbers"].reasons == ("first run",)
    carry_out(store, plan)
    assert set(decisions(planned(recipe())).values()) == {"HIT"}
    assert set(decisions(planned(recipe({"gate": "nothing"}))).values()) == {"HIT"}


def test_the_reason_is_a_field_difference(planned, store) -> None:
    carry_out(store, planned(recipe()))
    plan = planned(recipe({"count": 6, "shape": {"low": 0.1}}))
    assert plan["numbers"].reasons == ("count 4 -> 6", "shape.low 0.4 -> 0.1")
    assert plan["squares"].reasons[0].startswith("input numbers/numbers ")
    assert json.loads(json.dumps(plan["numbers"].as_json()))["decision"] == "RUN"


def test_the_nearest_earlier_result_explains(planned, store) -> None:
    carry_out(store, planned(recipe({"count": 9, "shape": {"low": 0.0}})))
    carry_out(store, planned(recipe({"count": 5})))
    assert planned(recipe({"count": 6}))["numbers"].reasons == ("count 5 -> 6",)


def test_only_needs_its_inputs(planned, store) -> None:
    plan = planned(recipe(), only=("squares",))
    assert decisions(plan) == {"numbers": "BLOCKED", "squares": "BLOCKED"}
    assert "use --until squares" in plan["squares"].reasons[0]
    assert decisions(planned(recipe(), until=("squares",))) == {"numbers": "RUN", "squares": "RUN"}
    carry_out(store, planned(recipe(), until=("numbers",)))
    assert decisions(planned(recipe(), only=("squares",))) == {"numbers": "HIT", "squares": "RUN"}


def test_a_misspelt_selection(planned) -> None:
    with pytest.raises(ConfigError, match="did you mean 'squares'"):
        planned(recipe(), force=("sqares",))


def test_force_makes_a_generation_and_other_bytes_make_stale(planned, store) -> None:
    carry_out(store, planned(recipe()))
    first = store.find("toy_numbers", planned(recipe())["numbers"].key)
    plan = planned(recipe(), force=("numbers",))
    assert decisions(plan) == {"numbers": "RUN", "squares": "HIT", "total": "HIT"}
    assert plan["numbers"].generation == 2
    assert "--force" in plan["numbers"].reasons[0]
    carry_out(store, plan)
    assert set(decisions(planned(recipe())).values()) == {"HIT"}, "the same bytes again: nothing is stale"
    second = first.folder / "artifact.0002.json"
    record = json.loads(second.read_text())
    second.write_text(json.dumps(record | {"content_digest": "f" * 64}))
    plan = planned(recipe())
    assert decisions(plan) == {"numbers": "HIT", "squares": "STALE", "total": "STALE"}
    assert "rebuilt with other bytes" in plan["squares"].reasons[0]


def test_drift_is_advisory(planned, store, monkeypatch) -> None:
    carry_out(store, planned(recipe()))
    monkeypatch.setattr("pipelines.workflow.survey.source_hash", lambda definition: "0" * 64)
    plan = planned(recipe())
    assert set(decisions(plan).values()) == {"DRIFT"}
    assert not plan.work


def test_a_living_lease_blocks(planned) -> None:
    folder = planned(recipe())["numbers"].facts.folder
    folder.mkdir(parents=True)
    lease = Lease.acquire(folder, run_id="other", step="numbers")
    plan = planned(recipe())
    assert decisions(plan) == {"numbers": "BLOCKED", "squares": "BLOCKED", "total": "BLOCKED"}
    assert "run other" in plan["numbers"].reasons[0]
    lease.release()
    assert decisions(planned(recipe()))["numbers"] == "RUN"


def test_a_renamed_step_is_a_hit(planned, store) -> None:
    carry_out(store, planned(recipe()))
    raw = recipe()
    raw["sum"] = raw.pop("total")
    assert set(decisions(planned(raw)).values()) == {"HIT"}


def test_limit_is_an_identity(planned, store) -> None:
    carry_out(store, planned(recipe()))
    plan = planned(recipe(), limit=2)
    assert plan["numbers"].reasons == ("limit (none) -> 2",)
    results = carry_out(store, plan)
    assert results["numbers"].record.stats["samples"] == 2


def test_a_plan_of_200_steps_takes_less_than_two_seconds(planned) -> None:
    steps = {f"n{index}": {"stage": "toy_numbers", "count": index} for index in range(199)}
    raw = {**steps, "all": {"stage": "toy_total", "inputs": {"terms": list(steps)}}}
    start = time.process_time()
    assert len(planned(raw).work) == 200
    assert time.process_time() - start < 2.0
