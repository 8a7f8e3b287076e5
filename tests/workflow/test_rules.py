"""How a run goes about its plan: side by side as CPUs allow, on after a failure, within limits, waiting for others."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from processes import Processes
from toy_recipe import Quiet, carry_out, recipe

from pipelines.core.errors import ConfigError, InfraError, LockError
from pipelines.core.executor import Resources
from pipelines.workflow.files import read_json
from pipelines.workflow.lease import Lease
from pipelines.workflow.runner import Rules, Runner
from pipelines.workflow.runs import EVERY_STEP, create_run
from pipelines.workflow.watch import Timeouts

pytestmark = pytest.mark.usefixtures("fast")


@pytest.fixture
def fast(monkeypatch) -> None:
    monkeypatch.setattr("pipelines.workflow.runner.BACKOFF_S", (0.0,))
    monkeypatch.setattr("pipelines.workflow.runner.POLL_S", 0.01)
    monkeypatch.setattr("pipelines.workflow.runner.ASK_LEASE_S", 0.02)
    monkeypatch.setattr("pipelines.workflow.watch.ASK_BACKEND_S", 0.02)


def branches(count: int, **fields) -> dict:
    """Independent ``n0 n1 ...``, and one step that reads them all."""
    steps = {f"n{index}": {"stage": "toy_numbers", "count": index + 1, **fields} for index in range(count)}
    return {**steps, "all": {"stage": "toy_total", "inputs": {"terms": list(steps)}}}


def at_once(listener: Quiet) -> int:
    """Most steps that were under way at the same time, as the run told it."""
    most = now = 0
    for event in listener.events:
        now += {"step_started": 1, "step_finished": -1}.get(event["kind"], 0)
        most = max(most, now)
    return most


class Opens(Quiet):
    """Opens the gate when so many steps are under way."""

    def __init__(self, gate: Path, most: int) -> None:
        super().__init__()
        self.gate, self.most = gate, most

    def event(self, kind: str, **fields) -> None:
        super().event(kind, **fields)
        if at_once(self) == self.most:
            self.gate.unlink(missing_ok=True)


@pytest.fixture
def shut(gate: Path) -> Path:
    """A gate that lets no unit through."""
    gate.write_text("0")
    return gate


@pytest.mark.parametrize(("cpus", "workers", "most"), [(4, 1, 4), (4, 2, 2), (1, 4, 1)])
def test_branches_run_side_by_side_as_cpus_allow(cpus, workers, most, planned, store, shut) -> None:
    listener = Opens(shut, most)
    plan = planned(branches(4, workers=workers, gate=str(shut)))
    results = carry_out(store, plan, Processes, listener, cluster=Resources(cpus))
    assert {result.status for result in results.values()} == {"ok"}
    assert at_once(listener) == most


def test_a_step_without_its_gpus_is_refused_before_anything_starts(planned, store) -> None:
    listener = Quiet()

    def never() -> Processes:
        raise AssertionError("a backend was made")

    plan = planned({"one": {"stage": "toy_numbers", "worker_gpus": 1}})
    with pytest.raises(ConfigError, match="step 'one' needs more gpus"):
        carry_out(store, plan, never, listener, cluster=Resources(2))
    assert listener.events == []
    assert carry_out(store, plan, Processes, cluster=Resources(2, gpus=1))["one"].status == "ok"


def test_max_parallel(planned, store, shut) -> None:
    listener = Opens(shut, 2)
    carry_out(store, planned(branches(3, gate=str(shut))), Processes, listener, cluster=Resources(9), max_parallel=2)
    assert at_once(listener) == 2


def broken_branch(tmp_path: Path) -> dict:
    """numbers -> squares fails for good; other -> more does not read it."""
    crash = tmp_path / "crash"
    crash.write_text("start:data")
    return {
        "numbers": {"stage": "toy_numbers", "crash": str(crash)},
        "squares": {"stage": "toy_squares", "inputs": {"numbers": "numbers"}},
        "other": {"stage": "toy_numbers", "count": 3},
        "more": {"stage": "toy_squares", "inputs": {"numbers": "other"}},
    }


def test_a_failure_stops_what_has_not_started(planned, store, tmp_path) -> None:
    results = carry_out(store, planned(broken_branch(tmp_path)))
    assert {name: result.status for name, result in results.items()} == {
        "numbers": "failed",
        "squares": "waiting",
        "other": "waiting",
        "more": "waiting",
    }


def test_keep_going_makes_what_does_not_depend_on_it(planned, store, tmp_path) -> None:
    results = carry_out(store, planned(broken_branch(tmp_path)), keep_going=True)
    assert {name: result.status for name, result in results.items()} == {
        "numbers": "failed",
        "squares": "waiting",
        "other": "ok",
        "more": "ok",
    }


@pytest.mark.parametrize(
    ("limit", "backend", "word", "attempts"),
    [
        ("queue_s", {"hold": True}, "waited too long for a place to run", 3),
        ("start_s", {"silent": True}, "its process never reported", 3),
        ("progress_s", {}, "made no progress", 3),
        ("wall_s", {}, "took longer than it may", 1),
    ],
)
def test_time_limits(limit, backend, word, attempts, planned, store, shut) -> None:
    """The first three are the machine's fault and tried again; the last is not."""
    plan = planned(recipe({"gate": str(shut)}), until=("numbers",))
    seconds = 0.2
    (result,) = carry_out(
        store, plan, lambda: Processes(**backend), timeouts={"numbers": Timeouts(**{limit: seconds})}
    ).values()
    assert result.status == "failed"
    assert word in result.error.what
    assert f"timeouts.{limit} = {seconds:g}" in result.error.where
    assert result.attempts == attempts
    assert isinstance(result.error, InfraError) == (attempts > 1)


def test_the_loser_waits_and_takes_what_the_winner_made(planned, store) -> None:
    plan = planned(recipe(), wait=True)
    lease = Lease.acquire(plan["numbers"].facts.folder, run_id="other", step="numbers")
    listener, found = Quiet(), {}
    thread = threading.Thread(target=lambda: found.update(carry_out(store, plan, listener=listener)))
    thread.start()
    while not any(event["kind"] == "step_waiting" for event in listener.events):
        assert thread.is_alive()
    assert not found
    lease.release()
    thread.join()
    assert {result.status for result in found.values()} == {"ok"}
    (event,) = [event for event in listener.events if event["kind"] == "step_waiting"]
    assert "run other" in event["why"]


def test_without_waiting_the_holder_is_named(planned, store) -> None:
    plan = planned(recipe(), wait=True)
    lease = Lease.acquire(plan["numbers"].facts.folder, run_id="other", step="numbers")
    result = carry_out(store, plan, wait=False)["numbers"]
    lease.release()
    assert isinstance(result.error, LockError)
    assert result.error.exit_code == 5
    assert "run other" in result.error.why


def test_a_step_is_stopped_on_request(planned, store, gate) -> None:
    """``cookhouse cancel``: the wish is a file, the driver that reads it stops the step and keeps its units."""
    plan = planned(recipe({"gate": str(gate)}))
    run = create_run(store.home, plan, recipe="toy", overrides=(), backend="processes", limit=None, selection={})
    backend, listener = Processes(), Quiet()

    class Wishes(Quiet):
        def progress(self, step: str, events) -> None:
            run.ask_to_stop("numbers")

    listener = Wishes()
    results = Runner(
        store, plan, lambda: backend, listener, run_id=run.run_id, rules=Rules(), asked_to_stop=run.asked_to_stop
    ).run()
    assert results["numbers"].status == "killed"
    assert results["squares"].status == "waiting"
    attempt = store.attempts(plan["numbers"].facts.folder)[-1][1]
    assert read_json(attempt / "outcome.json")["status"] == "killed"
    assert planned(recipe())["numbers"].units == 2


def test_a_run_is_stopped_on_request(planned, store, gate) -> None:
    plan = planned(recipe({"gate": str(gate)}))
    run = create_run(store.home, plan, recipe="toy", overrides=(), backend="processes", limit=None, selection={})

    class Wishes(Quiet):
        def progress(self, step: str, events) -> None:
            run.ask_to_stop()

    with pytest.raises(KeyboardInterrupt):
        Runner(store, plan, Processes, Wishes(), run_id=run.run_id, asked_to_stop=run.asked_to_stop).run()
    assert run.asked_to_stop() == {EVERY_STEP}
    assert not list(store.root.glob("*/*/lease.json"))


def test_a_second_interrupt_kills(planned, store, gate, monkeypatch) -> None:
    """A step that does not end when asked to is killed at the second Ctrl-C."""
    plan = planned(recipe({"gate": str(gate)}), until=("numbers",))

    class Deaf(Processes):
        def cancel(self, handle) -> None:
            """Asked, but nothing happens."""

    backend = Deaf()

    class Impatient(Quiet):
        def progress(self, step: str, events) -> None:
            monkeypatch.setattr("pipelines.workflow.runner.time.sleep", interrupt)
            raise KeyboardInterrupt

    def interrupt(_: float) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Runner(store, plan, lambda: backend, Impatient(), run_id="test", rules=Rules(stop_wait_s=60)).run()
    (process,) = backend.running.values()
    assert process is not None
    assert process.wait() == -9
