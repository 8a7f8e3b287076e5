"""Combinations of overrides, and the union of their steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_recipe import nowhere, recipe
from toy_stages import REGISTRY

from pipelines.core.errors import ConfigError
from pipelines.workflow.plan import key_steps, make_plan
from pipelines.workflow.recipe import parse_steps
from pipelines.workflow.survey import survey
from pipelines.workflow.sweep import combine, expand, part, sweep_id, unite


def keyed(store, raw):
    return key_steps(parse_steps(raw, REGISTRY, nowhere), store.cache, limit=None, origin=nowhere)


def test_the_grid_is_hydras() -> None:
    assert expand(["a=1,2", "b=x", "c=choice(p,q)"]) == [
        ("a=1", "b=x", "c=p"),
        ("a=1", "b=x", "c=q"),
        ("a=2", "b=x", "c=p"),
        ("a=2", "b=x", "c=q"),
    ]
    assert expand(["a=range(1,4)"]) == [("a=1",), ("a=2",), ("a=3",)]
    assert expand(["a=[1,2]", "b='1,2'"]) == [("a=[1,2]", "b='1,2'")], "a list and a quoted text are one value"
    assert expand(["+a=1,2"]) == [("+a=1",), ("+a=2",)]


def test_lists_and_files_are_combined_with_the_grid(tmp_path: Path) -> None:
    file = tmp_path / "combinations.txt"
    file.write_text("# two\na=1 b=2\n\na=3  # a comment\n")
    found, names = combine(["c=x,y"], ["a=9"], file)
    assert found == [(c, *own) for own in (("a=9",), ("a=1", "b=2"), ("a=3",)) for c in ("c=x", "c=y")]
    assert names == ("c", "a", "b")
    assert combine(["a=1,1"])[0] == [("a=1",)], "no repetition"


@pytest.mark.parametrize("text", ["a=interval(0,1)", "a=glob(x*)", "a=,", "a=choice("])
def test_what_cannot_be_swept_is_said(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand([text])
    assert f"'{text}' is no sweep" in str(caught.value)


def test_shared_steps_are_one_node(store) -> None:
    combinations = [keyed(store, recipe()), keyed(store, recipe()), keyed(store, recipe({"count": 5}))]
    combinations[1] = keyed(
        store, recipe(total={"stage": "toy_total", "inputs": {"terms": ["numbers", "squares"]}, "bias": 1})
    )
    union = unite(combinations)
    names = [item.step.name for item in union.steps]
    assert names == ["numbers.1", "squares.1", "total.1", "total.2", "numbers.2", "squares.2", "total.3"]
    assert union.nodes[1] == {"numbers": "numbers.1", "squares": "squares.1", "total": "total.2"}
    assert union.named("numbers") == ("numbers.1", "numbers.2")
    assert union.named("nmbers") == ("nmbers",)
    by_name = {item.step.name: item for item in union.steps}
    assert by_name["total.2"].step.parents == ("numbers.1", "squares.1")
    for item in combinations[1]:
        assert by_name[union.nodes[1][item.step.name]].key == item.key, "a key does not depend on the sweep"


def test_a_part_is_the_plan_of_one_combination(store) -> None:
    combinations = [keyed(store, recipe()), keyed(store, recipe({"count": 5}))]
    union = unite(combinations)
    plan = make_plan(union.steps, survey(store, union.steps))
    mine = part(plan, union.nodes[1])
    assert [step.name for step in mine.steps] == ["numbers", "squares", "total"]
    assert [step.key for step in mine.steps] == [item.key for item in combinations[1]]
    assert mine["total"].keyed.step.inputs == {"terms": ("numbers", "squares")}
    assert plan["numbers.2"].facts.folder.name.startswith("numbers-"), "folders are named as the recipe does"


def test_the_same_combinations_are_the_same_sweep() -> None:
    one = sweep_id("toy", [("a=1",), ("a=2",)], {"limit": None})
    assert one == sweep_id("toy", [("a=1",), ("a=2",)], {"limit": None})
    assert one != sweep_id("toy", [("a=1",), ("a=3",)], {"limit": None})
    assert one != sweep_id("toy", [("a=1",), ("a=2",)], {"limit": 3})
