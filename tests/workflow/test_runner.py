"""Crash at every point, then run again: one committed result, finished units adopted, the same bytes as without a
crash."""

from __future__ import annotations

import threading
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from toy_recipe import Quiet, carry_out, make_plan_of, recipe

from pipelines.core.errors import CookhouseError
from pipelines.workflow import execute as execute_module
from pipelines.workflow import runner as runner_module
from pipelines.workflow.backends import Handle, JobState
from pipelines.workflow.backends.inprocess import InProcess
from pipelines.workflow.execute import Spec, _run
from pipelines.workflow.runner import Runner
from pipelines.workflow.store import Store
from pipelines.workflow.watch import prepare

POINTS = ["start", "before-0", "after-0", "before-2", "after-2", "after-3", "end"]


class Killed(BaseException):
    """Stands for kill -9: nothing of the attempt's process runs after it."""


class Scripted(InProcess):
    """In process, but a :class:`Killed` leaves no outcome behind, as a killed process would."""

    def submit(self, spec: Spec, submission: str) -> Handle:
        handle = Handle(submission, Path(spec.attempt))
        try:
            _run(spec, spec.open())
            (handle.attempt / "outcome.json").write_text('{"status": "ok"}')
        except Killed:
            pass
        return handle


@pytest.fixture(autouse=True)
def fast(monkeypatch) -> None:
    monkeypatch.setattr(runner_module, "BACKOFF_S", (0.0,))
    monkeypatch.setattr(runner_module, "POLL_S", 0.0)
    monkeypatch.setattr("pipelines.workflow.watch.ASK_BACKEND_S", 0.0)


def kill_once(monkeypatch, point: str) -> None:
    """The first process that comes to ``point`` dies there."""
    state = {"armed": True}

    def misbehave(crash: str, here: str) -> None:
        if here == point and state.pop("armed", False):
            raise Killed

    monkeypatch.setattr("toy_stages.misbehave", misbehave)


def commits(store: Store) -> list[str]:
    return sorted(path.parent.parent.name for path in store.root.glob("*/*/artifact*.json"))


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_worker_is_tried_again_and_units_are_adopted(point, planned, store, monkeypatch) -> None:
    kill_once(monkeypatch, point)
    listener = Quiet()
    results = carry_out(store, planned(recipe()), Scripted, listener)
    assert {name: result.status for name, result in results.items()} == dict.fromkeys(results, "ok")
    assert commits(store) == ["toy_numbers", "toy_squares", "toy_total"]
    record = results["numbers"].record
    done = {"start": 0, "before-0": 0, "after-0": 1, "before-2": 2, "after-2": 3, "after-3": 4, "end": 4}[point]
    assert record.stats["made"] == 4 - done, "finished units are not made again"
    assert [path.read_text() for path in record.open("numbers").glob("parts/*.txt")] == ["0", "1", "2", "3"]
    assert [event["kind"] for event in listener.events].count("step_retry") == 1


def test_a_crash_changes_no_byte(planned, store, tmp_path, monkeypatch) -> None:
    clean = Store(tmp_path / "clean")
    plan = planned(recipe())
    kill_once(monkeypatch, "after-1")
    crashed = carry_out(store, plan, Scripted)["total"].record
    other = carry_out(clean, make_plan_of(clean, recipe()))["total"].record
    assert (crashed.key, crashed.content_digest) == (other.key, other.content_digest)


@pytest.mark.parametrize("name", ["create_json", "write_json"])
def test_killed_while_committing(name, planned, store, monkeypatch) -> None:
    """Dying between the data and ``artifact.json`` leaves no result, and nothing is made twice."""
    real = execute_module.commit.__globals__[name]
    state = {"armed": True}

    def fragile(path: Path, value: Any) -> Any:
        if path.name in ("artifact.json", "manifest.json") and state.pop("armed", False):
            raise Killed
        return real(path, value)

    monkeypatch.setattr(f"pipelines.workflow.store.{name}", fragile)
    results = carry_out(store, planned(recipe(), until=("numbers",)), Scripted)
    assert results["numbers"].status == "ok"
    assert results["numbers"].record.stats["made"] == 0
    assert commits(store) == ["toy_numbers"]


def test_a_dead_driver_leaves_units_for_the_next_run(planned, store, monkeypatch) -> None:
    """The driver dies with its worker: the next run plans ADOPT and takes over the dead lease."""
    kill_once(monkeypatch, "after-1")

    class Fatal(Scripted):
        def status(self, handle: Handle) -> JobState:
            raise Killed

    runner = Runner(store, planned(recipe()), Fatal, Quiet(), run_id="test")
    monkeypatch.setattr(runner, "_abandon", lambda: None)
    with pytest.raises(Killed):
        runner.run()
    for active in runner._active.values():  # a dead process beats no more
        active.lease._stop.set()
    monkeypatch.setattr("pipelines.workflow.process.is_alive", lambda who: False)
    plan = planned(recipe())
    assert str(plan["numbers"].decision) == "ADOPT"
    assert plan["numbers"].units == 2
    results = carry_out(store, plan)
    assert results["numbers"].record.stats["made"] == 2
    assert results["total"].status == "ok"


def test_infra_failures_are_retried_twice_then_reported(planned, store, tmp_path) -> None:
    crash = tmp_path / "crash"

    class AlwaysInfra(InProcess):
        def submit(self, spec: Spec, submission: str) -> Handle:
            crash.write_text("start:infra")
            return super().submit(spec, submission)

    results = carry_out(store, planned(recipe({"crash": str(crash)})), AlwaysInfra)
    assert results["numbers"].status == "failed"
    assert results["numbers"].attempts == 3
    assert results["numbers"].error.failure == "infra"
    assert results["squares"].status == results["total"].status == "waiting"


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("data", ["three of four inputs are bad", "look at them"]),
        ("bug", ["ZeroDivisionError: division by zero", "toy_stages.py:"]),
        ("full", ["the disk is full", "/somewhere/big", "storage.root="]),
    ],
)
def test_user_failures_are_not_retried(action, words, planned, store, tmp_path) -> None:
    crash = tmp_path / "crash"
    crash.write_text(f"after-1:{action}")
    raw = recipe({"crash": str(crash)})
    results = carry_out(store, planned(raw))
    assert results["numbers"].status == "failed"
    assert results["numbers"].attempts == 1
    for word in words:
        assert word in str(results["numbers"].error)
    assert Path(results["numbers"].error.log).read_text().startswith("Traceback")
    again = planned(raw)
    assert str(again["numbers"].decision) == "ADOPT"
    assert again["numbers"].units == 2
    assert carry_out(store, again)["total"].status == "ok"


def test_an_interrupt_gives_the_lease_back(planned, store, tmp_path) -> None:
    crash = tmp_path / "crash"
    crash.write_text("after-0:interrupt")
    listener = Quiet()
    with pytest.raises(KeyboardInterrupt):
        carry_out(store, planned(recipe({"crash": str(crash)})), InProcess, listener)
    assert [event["status"] for event in listener.events if event["kind"] == "step_finished"] == ["killed"]
    assert not list(store.root.glob("*/*/lease.json"))
    assert str(planned(recipe())["numbers"].decision) == "ADOPT"


def test_a_step_that_somebody_made_meanwhile_is_a_hit(planned, store) -> None:
    late = planned(recipe())
    carry_out(store, planned(recipe()))
    results = carry_out(store, late)
    assert {result.status for result in results.values()} == {"hit"}
    assert len(store.attempts(late["numbers"].facts.folder)) == 1


def test_a_plan_of_hits_starts_no_backend(planned, store) -> None:
    carry_out(store, planned(recipe()))

    def refuse():
        raise AssertionError("no backend is needed")

    assert {result.status for result in carry_out(store, planned(recipe()), refuse).values()} == {"hit"}


def test_a_living_job_is_attached_to(planned, store) -> None:
    """A driver before us submitted the job and died; it still runs and then commits."""
    plan = planned(recipe(), until=("numbers",))
    spec, submission = prepare(store, plan["numbers"], {})

    class Busy(InProcess):
        asked = 0

        def submit(self, spec: Spec, submission: str) -> Handle:
            raise AssertionError("the job exists")

        def status(self, handle: Handle) -> JobState:
            assert handle.submission == submission
            Busy.asked += 1
            if Busy.asked == 3:
                InProcess.submit(self, spec, submission)
            return JobState.RUNNING

    listener = Quiet()
    results = carry_out(store, planned(recipe(), until=("numbers",)), Busy, listener)
    assert results["numbers"].status == "ok"
    assert [event["reattached"] for event in listener.events if event["kind"] == "step_started"] == [True]
    assert len(store.attempts(plan["numbers"].facts.folder)) == 1


def test_events_tell_the_story(planned, store) -> None:
    listener = Quiet()
    carry_out(store, planned(recipe(), until=("numbers",)), InProcess, listener)
    assert [kind for kind, _ in groupby(event["kind"] for event in listener.events)] == [
        "step_planned",
        "backend_ready",
        "step_started",
        "progress",
        "step_finished",
    ]
    assert Path(listener.events[-1]["artifact_json"]).name == "artifact.json"


def test_progress_of_a_step_in_this_process_is_heard_while_it_works(planned, store, monkeypatch) -> None:
    """The step does not go on to its third unit before somebody heard of the second."""
    heard = threading.Event()

    class Ears(Quiet):
        def progress(self, step: str, events: Any) -> None:
            super().progress(step, events)
            if any(event.get("done") == 2 for event in events):
                heard.set()

    def misbehave(crash: str, here: str) -> None:
        assert here != "before-2" or heard.wait(60), "nobody was told"

    monkeypatch.setattr("toy_stages.misbehave", misbehave)
    listener = Ears()
    results = carry_out(store, planned(recipe(), until=("numbers",)), InProcess, listener)
    assert results["numbers"].status == "ok"
    heard_of = [one for event in listener.events if event["kind"] == "progress" for one in event["events"]]
    told = [one["done"] for one in heard_of if one["kind"] == "progress"]
    assert told == [1, 2, 3, 4], "each event is told once, the last ones too"


def test_a_screen_that_is_gone_ends_no_step(planned, store, monkeypatch) -> None:
    gone = threading.Event()

    class Gone(Quiet):
        def progress(self, step: str, events: Any) -> None:
            if not gone.is_set():
                gone.set()
                raise BrokenPipeError

    def misbehave(crash: str, here: str) -> None:
        assert here != "before-2" or gone.wait(60)

    monkeypatch.setattr("toy_stages.misbehave", misbehave)
    results = carry_out(store, planned(recipe(), until=("numbers",)), InProcess, Gone())
    assert results["numbers"].status == "ok"


def test_two_results_of_one_generation_cannot_exist(planned, store) -> None:
    plan = planned(recipe(), until=("numbers",))
    specs = [prepare(store, plan["numbers"], {})[0] for _ in range(2)]
    for spec in specs:
        _run(spec, spec.open())
    record = store.find("toy_numbers", plan["numbers"].key)
    assert record.data["attempt"] == Path(specs[0].attempt).name
    assert len(commits(store)) == 1


def test_error_classes_survive_the_process(planned, store) -> None:
    error = CookhouseError("what", where="where", why="why", do="do")
    assert str(error) == "what\n  where: where\n  why: why\n  do: do"


def test_two_stores_may_share_a_cluster(planned, store, tmp_path) -> None:
    """The same key in two stores is submitted under two names: neither attaches to the other's job."""
    other = Store(tmp_path / "other")
    names = {prepare(place, make_plan_of(place, recipe())["numbers"], {})[1] for place in (store, other)}
    assert len(names) == 2
    assert all(name.startswith("numbers-") for name in names)
