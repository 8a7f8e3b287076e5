from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading

import pytest
from toy_recipe import carry_out, recipe

from pipelines.core.errors import LockError
from pipelines.workflow import lease as lease_module
from pipelines.workflow import process
from pipelines.workflow.files import read_json, write_json
from pipelines.workflow.lease import Lease, holder
from pipelines.workflow.runs import create_run, find_run
from pipelines.workflow.status import run_status
from pipelines.workflow.watch import prepare


@pytest.fixture(scope="module")
def dead() -> dict:
    """The identity of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = process.identity(child.pid)
    assert process.is_alive(who)
    child.communicate(b"\n")
    return who


def test_a_process_is_its_pid_and_its_start(dead) -> None:
    me = process.identity()
    assert process.is_alive(me) is True
    assert process.is_alive(dead) is False
    assert process.is_alive({**me, "start": "1"}) is False, "the same pid, another process"
    assert process.is_alive({**me, "host": "elsewhere"}) is None


def test_one_holder_at_a_time(tmp_path) -> None:
    first = Lease.acquire(tmp_path, run_id="r1", step="s")
    with pytest.raises(LockError, match="made by another run") as caught:
        Lease.acquire(tmp_path, run_id="r2", step="s")
    assert "run r1" in str(caught.value)
    assert caught.value.exit_code == 5
    first.release()
    Lease.acquire(tmp_path, run_id="r2", step="s").release()
    assert not (tmp_path / "lease.json").exists()


def test_a_dead_holder_is_replaced_at_once(tmp_path, dead) -> None:
    write_json(tmp_path / "lease.json", {"token": "old", "run_id": "r0", "step": "s", "since": 0, **dead})
    assert holder(tmp_path) is None
    lease = Lease.acquire(tmp_path, run_id="r1", step="s")
    assert holder(tmp_path)["run_id"] == "r1"
    lease.release()


def test_another_host_keeps_it_while_its_heart_beats(tmp_path, dead) -> None:
    path = tmp_path / "lease.json"
    write_json(path, {"token": "old", "run_id": "r0", "step": "s", "since": 0, **dead, "host": "elsewhere"})
    with pytest.raises(LockError):
        Lease.acquire(tmp_path, run_id="r1", step="s")
    os.utime(path, (1, 1))
    Lease.acquire(tmp_path, run_id="r1", step="s").release()


def test_many_takers_one_winner(tmp_path, dead) -> None:
    write_json(tmp_path / "lease.json", {"token": "old", "run_id": "r0", "step": "s", "since": 0, **dead})
    won, barrier = [], threading.Barrier(6)

    def take(n: int) -> None:
        barrier.wait()
        with contextlib.suppress(LockError):
            won.append(Lease.acquire(tmp_path, run_id=f"r{n}", step="s"))

    threads = [threading.Thread(target=take, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].release()


def test_a_lost_lease_is_noticed_and_not_removed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_S", 0.01)
    lease = Lease.acquire(tmp_path, run_id="r1", step="s")
    write_json(tmp_path / "lease.json", {**read_json(tmp_path / "lease.json"), "token": "thief"})
    assert lease.lost.wait(60)
    lease.release()
    assert read_json(tmp_path / "lease.json")["token"] == "thief"


def states(store, run) -> dict[str, str]:
    return {row.step: row.state for row in run_status(store, run).steps}


def test_status_follows_the_files(planned, store, dead) -> None:
    plan = planned(recipe())
    run = create_run(store.root, plan, recipe="toy", overrides=(), backend="inprocess", limit=None, selection={})
    assert find_run(store.root).run_id == run.run_id
    assert states(store, run) == dict.fromkeys(("numbers", "squares", "total"), "waiting")
    lease = Lease.acquire(plan["numbers"].facts.folder, run_id=run.run_id, step="numbers")
    assert states(store, run)["numbers"] == "starting"
    prepare(store, plan["numbers"], {})
    assert states(store, run)["numbers"] == "running"
    worker = store.attempts(plan["numbers"].facts.folder)[-1][1] / "worker.json"
    write_json(worker, process.identity())
    lease.release()
    row = run_status(store, run)["numbers"]
    assert row.state == "running"
    assert "attaches" in row.note, "the command is gone, its job lives"
    write_json(worker, dead)
    assert states(store, run)["numbers"] == "LOST"
    carry_out(store, planned(recipe()))
    assert set(states(store, run).values()) == {"done"}
