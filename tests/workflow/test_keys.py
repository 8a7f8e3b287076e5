from __future__ import annotations

import pytest
from toy_recipe import nowhere, recipe
from toy_stages import REGISTRY, Numbers, numbers

from pipelines.core.identity import Identity, StageConfig
from pipelines.workflow import keys
from pipelines.workflow.plan import with_keys
from pipelines.workflow.probe import Probed
from pipelines.workflow.recipe import parse_steps
from pipelines.workflow.stage import stage, stage_of

PINNED = "702055f3f5b190bf3580d6a6404bd73c9fc77033724844d88ce345eeaf6f2148"


def document(config: Numbers | None = None, **changes):
    given = {"inputs": {}, "sources": {}, "tools": {"numpy": "2.0"}, "limit": None}
    return keys.key_document(stage_of(numbers), config or Numbers(), **{**given, **changes})


def keys_of(raw):
    steps = parse_steps(raw, REGISTRY, nowhere)
    return {item.step.name: item.key for item in with_keys(steps, {step.name: Probed(step.config) for step in steps})}


def test_a_key_is_pinned() -> None:
    """The key format is a promise: if this changes, every result anywhere is made anew."""
    assert (
        keys.key_of(document())
        == PINNED
        == keys.digest(
            {
                "schema": 1,
                "stage": "toy_numbers",
                "code_version": 1,
                "config": {"count": 4, "shape": {"low": 0.4, "high": 0.6}},
                "inputs": {},
                "sources": {},
                "tools": {"numpy": "2.0"},
            }
        )
    )


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"config": Numbers(gate="nothing")}, True),
        ({"config": Numbers(source="/other/place")}, True),
        ({"config": Numbers(count=5)}, False),
        ({"sources": {"source": "ab"}}, False),
        ({"tools": {"numpy": "2.1"}}, False),
        ({"limit": 3}, False),
        ({"inputs": {"x": (("a", "1"),)}}, False),
    ],
)
def test_only_identity_enters(changed, same) -> None:
    assert (keys.key_of(document(**changed)) == keys.key_of(document())) is same


def test_a_stage_without_limit_keeps_its_key() -> None:
    steps = parse_steps(recipe(), REGISTRY, nowhere)
    probes = {step.name: Probed(step.config) for step in steps}
    limited = {item.step.name: item.document for item in with_keys(steps, probes, limit=2)}
    assert limited["numbers"]["limit"] == 2
    assert "limit" not in limited["squares"]


def test_a_change_reaches_the_descendants_only() -> None:
    before = keys_of(recipe())
    after = keys_of(recipe() | {"squares": {"stage": "toy_squares", "inputs": {"numbers": "numbers"}, "power": 3}})
    assert [name for name in before if before[name] != after[name]] == ["squares", "total"]


def test_the_order_of_inputs_matters_and_the_own_name_does_not() -> None:
    base = keys_of(recipe())
    swapped = keys_of(recipe() | {"total": {"stage": "toy_total", "inputs": {"terms": ["squares", "numbers"]}}})
    assert swapped["total"] != base["total"]
    renamed = recipe()
    renamed["sum"] = renamed.pop("total")
    assert keys_of(renamed)["sum"] == base["total"]


def test_the_difference_speaks_the_recipe() -> None:
    old = document(inputs={"x": (("corpus", "a" * 64),)})
    new = document(Numbers(count=7), inputs={"x": (("corpus", "b" * 64),)}, tools={"numpy": "2.1"}, limit=3)
    assert keys.difference(old, new) == [
        "count 4 -> 7",
        f"input x/corpus {'a' * 12} -> {'b' * 12}",
        "limit (none) -> 3",
        "tool numpy 2.0 -> 2.1",
    ]


def test_a_field_without_a_marker_is_refused() -> None:
    with pytest.raises(TypeError, match="mark the field"):

        class Bad(StageConfig):
            forgotten: int = 3


def test_a_stage_needs_a_typed_configuration() -> None:
    with pytest.raises(TypeError, match="annotate"):

        @stage("bad", code_version=1, deterministic="bytes")
        def bad(config: dict, inputs, out):
            return {}

    class Good(StageConfig):
        n: Identity[int] = 1

    def good(config: Good, inputs, out):
        return {}

    with pytest.raises(TypeError, match="no @stage"):
        stage_of(good)


def test_wording_is_no_drift(tmp_path, monkeypatch) -> None:
    definition = stage_of(numbers)
    source = definition.source_file.read_text()
    hashes = []
    for text in (source, source.replace("Three tiny stages", "A few stages") + "\n# a comment\n", source + "\nX = 1\n"):
        path = tmp_path / f"{len(hashes)}.py"
        path.write_text(text)
        monkeypatch.setitem(definition.__dict__, "source_file", path)
        hashes.append(keys.source_hash(definition))
    assert hashes[0] == hashes[1] != hashes[2]
