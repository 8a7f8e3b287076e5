"""The fleet's state machine, under random deaths: every chunk ends exactly once, the dead never come back by
themselves."""

import random

import pytest

from pipelines.core.errors import InfraError
from rl.crew.fleet import Fleet


@pytest.mark.parametrize("seed", range(20))
def test_every_chunk_is_done_once(seed):
    draw = random.Random(seed)
    fleet = Fleet(3, max_tries=50, max_replacements=500)
    chunks = [f"c{i}" for i in range(12)]
    fleet.submit(chunks)
    busy, done = [], []
    while len(done) < len(chunks):
        while job := fleet.assign():
            busy.append(job[0])
        slot = busy.pop(draw.randrange(len(busy)))
        if draw.random() < 0.4:
            fleet.failed(slot, "killed")
            assert fleet.states[slot] == "dead"
            if draw.random() < 0.7 or not busy:
                for dead in fleet.dead():
                    fleet.replaced(dead)
        else:
            done.append(fleet.done(slot))
    assert sorted(done) == sorted(chunks)


def test_dead_never_becomes_idle_by_itself():
    fleet = Fleet(1)
    fleet.submit(["a"])
    fleet.assign()
    fleet.failed(0, "gone")
    assert fleet.assign() is None
    with pytest.raises(ValueError, match="dead"):
        fleet.done(0)
    fleet.replaced(0)
    assert fleet.assign() == (0, "a")


def test_a_chunk_that_kills_everyone_stops_the_run_with_reasons():
    fleet = Fleet(2, max_tries=2)
    fleet.submit(["poison"])
    slot, _ = fleet.assign()
    fleet.failed(slot, "out of memory")
    slot, _ = fleet.assign()
    with pytest.raises(InfraError, match="out of memory"):
        fleet.failed(slot, "out of memory")


def test_too_many_replacements_stop_the_run():
    fleet = Fleet(1, max_tries=9, max_replacements=1)
    fleet.submit(["a"])
    for _ in range(2):
        fleet.assign()
        fleet.failed(0, "gone")
        if fleet.replacements:
            with pytest.raises(InfraError, match="died"):
                fleet.replaced(0)
        else:
            fleet.replaced(0)
