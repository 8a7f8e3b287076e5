"""The shipped recipes as typed steps: what contradicts itself is found before anything starts."""

from __future__ import annotations

import json
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
    """``recipe=data`` makes what it was given a source for; the sample corpus stands in only where there is none."""

    def names(*overrides: str) -> list[str]:
        return [step.name for step in load_project(["recipe=data", *overrides]).steps]

    assert names() == ["corpus", "documents", "videos"]
    assert names("source.documents=/d", "source.videos=/v") == ["documents", "videos"]
    project = load_project(["recipe=data", "source.documents=/d", "timeouts.steps.videos.wall_s=60"])
    assert [step.name for step in project.steps] == ["documents"]
    assert project.steps[0].parents == ()
    assert project.left_out == {"videos": "source.videos"}
    assert names("steps.videos.source=/v") == ["videos"]
    assert names("source.documents=/d", "steps.videos.optional=false") == ["corpus", "documents", "videos"]
    assert "corpus" in {step.name for step in load_project(["recipe=tiny", "source.documents=/d"]).steps}


def test_a_step_that_is_left_out_is_told_and_cannot_be_asked_for(cookhouse, here: Path) -> None:
    (here / "pdfs").mkdir()
    source = f"source.documents={here / 'pdfs'}"
    (here / "pdfs" / "a.pdf").write_bytes(b"%PDF-1.4")
    code, out, err = cookhouse("plan", "recipe=data", source)
    assert code == 0, err
    assert "left out: videos (source.videos=... brings it in)" in out
    assert "1 of 1 steps to make" in out
    code, out, _ = cookhouse("plan", "recipe=data", source, "--json")
    assert json.loads(out)["left_out"] == ["videos"]
    for option in ((), ("--only",), ("--until",)):
        code, _, err = cookhouse("plan", "recipe=data", source, *option, "videos")
        assert code == 2
        assert "step 'videos' was given no source" in err
        assert "add source.videos=..." in err
    code, _, err = cookhouse("plan", "recipe=data", "steps.videos.optional=perhaps")
    assert (code, "steps.videos.optional = 'perhaps' does not fit" in err) == (2, True), err
