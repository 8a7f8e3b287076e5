from __future__ import annotations

import pytest

from pipelines.core.errors import ConfigError
from pipelines.workflow.compose import PACKAGED, compose

RECIPE = """\
# @package _global_
words: {upper: true}
steps:
  numbers:
    stage: toy_numbers
    source: ${source.documents}
    count: 4
  squares: {stage: toy_squares, inputs: {numbers: numbers}, power: 2}
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    (tmp_path / "conf" / "recipe" / "toy.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_working_directory_comes_first_and_everything_is_plain() -> None:
    composed = compose(["recipe=toy", "steps.numbers.count=7", "words.upper=false"])
    assert type(composed.values["steps"]) is dict
    assert composed.values["steps"]["numbers"]["count"] == 7
    assert composed.values["steps"]["numbers"]["source"] is None
    assert composed.values["words"] == {"upper": False}
    assert composed.values["cluster"]["backend"] == "ray"
    assert composed.choices["recipe"] == "toy"


def test_a_field_the_recipe_does_not_write_can_be_set() -> None:
    values = compose(["recipe=toy", "steps.numbers.shape.low=0.1", "steps.squares.crash=x"]).values
    assert values["steps"]["numbers"]["shape"] == {"low": 0.1}
    assert values["steps"]["squares"]["crash"] == "x"


def test_every_value_knows_where_it_was_written() -> None:
    composed = compose(["recipe=toy", "steps.squares.power=3", "source.documents=/data"])
    assert composed.origin(("steps", "numbers", "count")) == "conf/recipe/toy.yaml:7"
    assert composed.origin(("steps", "squares", "power")) == "command line (steps.squares.power=3)"
    assert composed.origin(("steps", "numbers", "source")) == "command line (source.documents=/data)"
    assert composed.origin(("steps", "numbers", "nothing")) == "conf/recipe/toy.yaml:4"
    assert composed.origin(("cluster", "num_cpus")).startswith("conf/cluster/local.yaml:")
    assert compose(["recipe=toy"]).origin(("steps", "numbers", "source")).startswith("conf/config.yaml:")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["recipe=tyo"], ["there is no recipe 'tyo'", "command line (recipe=tyo)", "did you mean 'toy'?"]),
        (["recipe=toy", "source.docments=x"], ["no value 'source.docments'", "did you mean 'source.documents'?"]),
        (["recipe=toy", "cluster.num_cpu=3"], ["did you mean 'cluster.num_cpus'?"]),
        (["recipe=toy", "clutser=local"], ["did you mean 'cluster'?"]),
        (
            ["recipe=toy", "cluster=ray"],
            ["cluster.address has no value", "conf/cluster/ray.yaml:", "add cluster.address="],
        ),
        (["recipe=toy", "cluster=ray", "cluster.adress=x"], ["did you mean 'cluster.address'?"]),
        (["recipe=toy", "cluster=locl"], ["there is no cluster 'locl'", "did you mean 'local'?"]),
        (["recipe"], ["'recipe' is no override", "name=value"]),
        (["recipe=toy", "words=a,b"], ["gives several values", "[a,b]"]),
        (["recipe=toy", "words={a"], ["cannot be read"]),
        (["recipe=toy", "steps.numbers.count=${words.uper}"], ["${words.uper} does not exist", "'words.upper'?"]),
    ],
)
def test_every_typo_is_one_message(overrides, words) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(overrides)
    for word in words:
        assert word in str(caught.value)


def test_broken_yaml_is_named_with_its_line(here) -> None:
    (here / "conf" / "recipe" / "bad.yaml").write_text("# @package _global_\nsteps:\n  a: {stage: x\n  b: y\n")
    with pytest.raises(ConfigError) as caught:
        compose(["recipe=bad"])
    assert "bad.yaml:4" in str(caught.value)


def test_the_packaged_folder_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path / "conf")
    composed = compose([])
    assert composed.folders == (PACKAGED,)
    assert "steps" not in composed.values
