"""A session: one plan for many combinations, a journal for each, wishes to stop from any of them."""

from __future__ import annotations

import pytest
from toy_recipe import Quiet, nowhere, recipe
from toy_stages import REGISTRY

from pipelines.core.events import read_events
from pipelines.core.storage import sha256_of
from pipelines.workflow.backends.inprocess import InProcess
from pipelines.workflow.plan import Plan, Selection, key_steps, make_plan
from pipelines.workflow.probe import HashCache
from pipelines.workflow.recipe import parse_steps
from pipelines.workflow.runner import Rules
from pipelines.workflow.runs import create_run
from pipelines.workflow.session import Combination, execute
from pipelines.workflow.survey import survey
from pipelines.workflow.sweep import part, unite


def keyed(cache: HashCache, raw, folder=""):
    return key_steps(parse_steps(raw, REGISTRY, nowhere), cache, limit=None, origin=nowhere, folder=folder)


@pytest.fixture
def session(store) -> tuple[Plan, list[Combination]]:
    """Two combinations that share ``numbers``."""
    total = {"stage": "toy_total", "inputs": {"terms": ["numbers", "squares"]}, "bias": 1}
    union = unite([keyed(store.cache, recipe()), keyed(store.cache, recipe(total=total))])
    plan = make_plan(union.steps, survey(store, union.steps), Selection())
    about = {"recipe": "toy", "overrides": (), "backend": "inprocess", "limit": None, "selection": {}, "sweep": "toy-1"}
    runs = [create_run(store.home, part(plan, nodes), **about) for nodes in union.nodes]
    return plan, [
        Combination(run, nodes, (f"n={i}",)) for i, (run, nodes) in enumerate(zip(runs, union.nodes, strict=True))
    ]


def test_every_combination_has_its_journal_and_listeners_hear_the_plan(store, session) -> None:
    plan, combinations = session
    ears = Quiet()
    results = execute(plan, combinations, [ears], store=store, backend=InProcess, rules=Rules())
    assert {name: result.status for name, result in results.items()} == dict.fromkeys(
        ("numbers", "squares", "total.1", "total.2"), "ok"
    )
    for index, item in enumerate(combinations):
        events = list(read_events(item.run.events_file))
        assert (events[0]["kind"], events[-1]["kind"], events[-1]["status"]) == ("run_started", "run_finished", "ok")
        assert events[0]["sweep"] == {"id": "toy-1", "index": index, "of": 2, "varied": [f"n={index}"]}
        assert [e["step"] for e in events if e["kind"] == "step_started"] == ["numbers", "squares", "total"]
        assert item.run.end == events[-1]
    assert [e["step"] for e in ears.events if e["kind"] == "step_started"] == [
        "numbers",
        "squares",
        "total.1",
        "total.2",
    ]


def test_a_wish_of_any_combination_stops_the_session(store, session) -> None:
    plan, combinations = session
    combinations[1].run.ask_to_stop()
    with pytest.raises(KeyboardInterrupt):
        execute(plan, combinations, [], store=store, backend=InProcess, rules=Rules(stop_wait_s=0))
    assert [item.run.end["status"] for item in combinations] == ["killed", "killed"]
    assert not list(store.root.glob("*/*/lease.json"))


def test_relative_paths_are_those_of_the_folder_and_an_interrupted_planning_keeps_its_hashes(
    tmp_path, monkeypatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / "typed" / name).mkdir(parents=True)
        (tmp_path / "typed" / name / "file").write_text(name)
    raw = {name: {"stage": "toy_numbers", "source": name} for name in ("a", "b")}
    path = tmp_path / "probe.json"
    hashed: list[str] = []
    stops = iter([False, True, False])

    def hash_of(file):
        if next(stops):
            raise KeyboardInterrupt
        hashed.append(str(file))
        return sha256_of(file)

    monkeypatch.setattr("pipelines.core.storage.sha256_of", hash_of)
    with pytest.raises(KeyboardInterrupt):
        keyed(HashCache(path), raw, tmp_path / "typed")
    steps = keyed(HashCache(path), raw, tmp_path / "typed")
    assert hashed == [str(tmp_path / "typed" / name / "file") for name in ("a", "b")], "each is read once"
    assert steps[0].probed.config.source == str(tmp_path / "typed" / "a")
