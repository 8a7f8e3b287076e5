"""Names, params and metrics as MLflow will show them."""

import math

from pipelines.tracking import describe


def test_a_name_says_what_was_changed_else_the_key():
    overrides = ["recipe=tiny", "steps.sft.lr=1e-3", "+steps.sft.seed=2", "source.documents=/data"]
    assert describe.changed(overrides, "sft") == "lr=1e-3,seed=2"
    assert describe.step_name("sft", "abcdef0123456789", overrides) == "sft-lr=1e-3,seed=2-abcdef0"
    assert describe.step_name("rl", "abcdef0123456789", overrides) == "rl-abcdef0"
    assert describe.run_name("tiny", "r1", ["recipe=tiny", "storage.root=/data/store"]) == "tiny-r1"
    assert describe.run_name("tiny", "r1", ["steps.sft.lr=1e-3"]) == "tiny-sft.lr=1e-3"
    assert len(describe.changed(["steps.sft." + "x" * 200], "sft")) == 60


def test_params_are_the_identity_fields_flattened():
    document = {
        "code_version": 3,
        "limit": 20,
        "config": {"phases": [{"lr": 0.1}, {"lr": 0.2}], "mix": {"cards": 0.5}, "sizes": [1, 2], "name": "a"},
        "inputs": {"shards": [["cards", "a" * 64], ["clips", "b" * 64]]},
        "sources": {"source": "c" * 64},
        "tools": {"pymupdf": "2.0"},
    }
    assert describe.params_of(document, "sft.") == {
        "sft.phases.0.lr": "0.1",
        "sft.phases.1.lr": "0.2",
        "sft.mix.cards": "0.5",
        "sft.sizes": "[1, 2]",
        "sft.name": "a",
        "sft.input.shards": f"cards-{'a' * 12},clips-{'b' * 12}",
        "sft.source.source": "c" * 12,
        "sft.tool.pymupdf": "2.0",
        "sft.code_version": "3",
        "sft.limit": "20",
    }


def test_a_long_param_is_cut_into_parts_that_join_to_the_whole():
    text = "".join(str(i % 10) for i in range(15_000))
    params = describe.params_of({"config": {"text": text}})
    assert all(len(value) <= describe.MAX_PARAM for value in params.values())
    assert "".join(params[f"text.part{i}"] for i in range(3)) == text


def test_metric_names_are_made_acceptable_and_infinities_gaps():
    record = {
        "seconds": 2.5,
        "stats": {
            "samples": 10,
            "levels": {"low": 4},
            "shown": True,
            "note": "text",
            "bad": math.inf,
            "main_metric": ["cer[low]", 0.25],
            "metrics": {"eval/cer/low": 0.25},
        },
    }
    expected = {"seconds": 2.5, "samples": 10.0, "levels/low": 4.0, "cer_low_": 0.25, "eval/cer/low": 0.25}
    found = describe.stat_metrics(record)
    assert math.isnan(found.pop("bad")), "a gap in a chart, not 1.8e308"
    assert found == expected
    assert describe.parent_metrics("sft", {"train/loss": 1.0}) == {"sft/train/loss": 1.0}


def test_the_parent_note_has_one_line_a_step_with_a_link():
    row = {"key": "k" * 64, "decision": "HIT", "status": "hit", "experiment_id": "7", "run_id": "r", "seconds": 3.0}
    note = describe.parent_note("tiny", ["steps.sft.lr=1"], {"sft": row})
    assert "cookhouse run recipe=tiny steps.sft.lr=1" in note
    assert f"| [sft](#/experiments/7/runs/r) | `{'k' * 12}` | HIT | hit | 3.0 |  |" in note


def test_the_code_of_a_result_and_what_was_no_number_are_tags():
    code = {"commit": "c0ffee", "dirty": "", "packages": {"torch": "2.9", "ray": "2.50"}, "host": "a"}
    assert describe.code_tags(code) == {
        "cookhouse.git_sha": "c0ffee",
        "mlflow.source.git.commit": "c0ffee",
        "cookhouse.git_dirty": "false",
        "cookhouse.packages": "torch=2.9 ray=2.50",
    }
    assert describe.code_tags({"version": "1", "image": "cook:7"}) == {
        "cookhouse.version": "1",
        "cookhouse.image": "cook:7",
    }
    assert describe.odd_tags({"loss": (3, 120), "a": (1, 7)}) == {
        "cookhouse.not_finite": "a: 1 from step 7, loss: 3 from step 120"
    }
    assert describe.odd_tags({}) == {}
