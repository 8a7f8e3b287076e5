from __future__ import annotations

import pytest
from toy_recipe import nowhere, recipe
from toy_stages import REGISTRY

from pipelines.core.errors import ConfigError
from pipelines.workflow.recipe import parse_steps


def parse(raw):
    return parse_steps(raw, REGISTRY, lambda path: ".".join(str(part) for part in path))


def test_steps_come_after_their_inputs_else_in_the_order_written() -> None:
    raw = recipe()
    shuffled = {name: raw[name] for name in ("total", "squares", "numbers")} | {"extra": {"stage": "toy_numbers"}}
    assert [step.name for step in parse(shuffled)] == ["numbers", "squares", "total", "extra"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (recipe({"cuont": 3}), ["no field 'cuont'", "steps.numbers.cuont", "did you mean 'count'?"]),
        (recipe({"shape": {"hihg": 1}}), ["no field 'shape.hihg'", "did you mean 'high'?"]),
        (recipe({"zzz": 3}), ["no field 'zzz'", "the fields are count, crash"]),
        (recipe({"count": "many"}), ["steps.numbers.count = 'many' does not fit", "valid integer"]),
        (recipe({"count": "many", "cuont": 3}), ["2 wrong values", "cuont", "many"]),
        (recipe(square={"power": 2}), ["no step 'square'", "did you mean 'squares'?"]),
        (recipe(x={"stage": "toy_number"}), ["no stage 'toy_number'", "did you mean 'toy_numbers'?"]),
        (recipe(x={"stage": "nowhere:at_all"}), ["cannot be loaded", "nowhere"]),
        (recipe(x={"stage": "toy_stages:misbehave"}), ["cannot be loaded", "no @stage"]),
        (recipe(x={"stage": "toy_squares"}), ["lacks its input 'numbers'"]),
        (recipe(x={"stage": "toy_squares", "inputs": {"number": "numbers"}}), ["no input 'number'", "'numbers'?"]),
        (
            recipe(x={"stage": "toy_squares", "inputs": {"numbers": "nmbers"}}),
            ["does not exist: 'nmbers'", "'numbers'?"],
        ),
        (recipe(x={"stage": "toy_squares", "inputs": "numbers"}), ["are no mapping"]),
        ({"Bad Name": {"stage": "toy_numbers"}}, ["no step name"]),
    ],
)
def test_every_typo_is_one_message(raw, words) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(raw)
    for word in words:
        assert word in str(caught.value)


def test_a_circle_is_named() -> None:
    raw = {
        "a": {"stage": "toy_squares", "inputs": {"numbers": "b"}},
        "b": {"stage": "toy_squares", "inputs": {"numbers": "a"}},
    }
    with pytest.raises(ConfigError, match="circle"):
        parse_steps(raw, REGISTRY, nowhere)
