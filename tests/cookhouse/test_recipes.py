"""The shipped recipes as typed steps: what contradicts itself is found before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cookhouse.project import load_project
from pipelines.core.errors import ConfigError

REPO = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "steps.pretrain.phases.0.weights.document=1",
            ["step 'pretrain'", "phase 'align' weighs 'document'", "command line", "did you mean 'documents'?"],
        ),
        ("steps.pretrain.phases.1.weights.corpus=1", ["its shard inputs are documents, captions, videos, text"]),
        ("steps.sft.phases.0.packs_per_step=3", ["does not divide over 2 ranks", "use a multiple of 2"]),
    ],
)
def test_a_phase_that_does_not_fit_its_step_is_found_at_once(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_project(["recipe=tiny", override])
    for word in words:
        assert word in str(caught.value)


def test_a_page_is_no_food_for_a_view_that_cannot_resolve_it() -> None:
    steps = {step.name: step for step in load_project(["recipe=tiny"]).steps}
    for name in ("pretrain", "sft"):
        for phase in steps[name].config.phases:
            assert phase.without == ("page",), f"{name}/{phase.name}"


def test_a_source_of_ones_own_replaces_the_sample_corpus() -> None:
    """``recipe=data`` with both sources makes no corpus; with one of them the other step still needs it."""
    names = [step.name for step in load_project(["recipe=data", "source.documents=/d", "source.videos=/v"]).steps]
    assert names == ["documents", "videos"]
    steps = {step.name: step for step in load_project(["recipe=data", "source.documents=/d"]).steps}
    assert set(steps) == {"corpus", "documents", "videos"}
    assert steps["documents"].parents == ()
    assert steps["videos"].parents == ("corpus",)
    assert "corpus" in {step.name for step in load_project(["recipe=tiny", "source.documents=/d"]).steps}
