"""The way of a group: each rollout once, closed by the last, a hard bound on age and number, and the balance of
outcomes."""

import pytest

from rl.flow import Flow
from rl.records import Group, Judgement, PolicyVersion, Prompt, Question, Reward, Rollout

REWARD = Reward(1.0, Judgement(1.0, 1.0, 0.0, "correct"))


def prompt(uid: str) -> Prompt:
    return Prompt(uid, Question("k", "add", "short", "1", "number", ()))


def rollout(uid: str, index: int = 0, step: int = 0) -> Rollout:
    return Rollout(prompt(uid), index, (1,), (-0.1,), "x", "stop", PolicyVersion(step, "f"))


def group(members: tuple[Rollout, ...], advantage: float = 0.5) -> Group:
    return Group(members, (REWARD,) * len(members), (advantage,) * len(members))


def put(flow: Flow, uid: str, step: int = 0, advantage: float = 0.5) -> None:
    flow.dispatch(prompt(uid))
    flow.put(group(flow.add(rollout(uid, 0, step)), advantage))


def test_the_last_rollout_closes_its_group():
    flow = Flow(3, 2, 0)
    flow.dispatch(prompt("a"))
    flow.dispatch(prompt("b"))
    assert flow.add(rollout("a", 2)) is None
    assert flow.add(rollout("b", 0)) is None
    assert flow.add(rollout("a", 0)) is None
    for twice in (rollout("a", 2), rollout("a", 3)):
        with pytest.raises(ValueError, match="twice"):
            flow.add(twice)
    with pytest.raises(ValueError, match="not closed"):
        flow.put(group((rollout("b", 0),)))
    closed = flow.add(rollout("a", 1))
    assert [member.index for member in closed] == [0, 1, 2], "in order, however they came"
    assert flow.unjudged == 2
    flow.put(group(closed))
    assert flow.unjudged == 1
    with pytest.raises(ValueError, match="not in flight"):
        flow.add(rollout("c"))


def test_each_group_is_taken_once_in_the_order_of_dispatch():
    flow = Flow(1, 2, 0)
    flow.dispatch(prompt("a"))
    put(flow, "b")
    assert [taken.prompt.uid for taken in flow.take(0)] == ["b"]
    closed = flow.add(rollout("a"))
    put(flow, "c")
    flow.put(group(closed))
    with pytest.raises(ValueError, match="twice"):
        flow.put(group(closed))
    assert [taken.prompt.uid for taken in flow.take(0)] == ["a", "c"]
    assert flow.take(0) == []
    with pytest.raises(ValueError, match="not in flight"):
        flow.put(group(closed))


@pytest.mark.parametrize(("bound", "age", "fresh"), [(0, 0, True), (0, 1, False), (1, 1, True), (1, 2, False)])
def test_the_bound_is_hard(bound, age, fresh):
    flow = Flow(1, 1, bound)
    put(flow, "a", step=5)
    assert len(flow.take(5 + age)) == fresh
    assert flow.counts["trained" if fresh else "stale"] == 1
    assert flow.in_flight == 0


def test_counts_balance_and_refuse_double_counting():
    flow = Flow(1, 3, 0)
    put(flow, "a")
    put(flow, "b", advantage=0.0)
    flow.dispatch(prompt("c"))
    flow.take(0)
    flow.dispatch(prompt("d"))
    flow.end("d", "failed")
    assert dict(flow.counts) == {"dispatched": 4, "trained": 1, "skipped": 1, "failed": 1}
    assert flow.balanced()
    assert flow.in_flight == 1
    with pytest.raises(ValueError, match="not in flight"):
        flow.end("a", "trained")
    with pytest.raises(ValueError, match="already"):
        flow.dispatch(prompt("c"))


def test_there_is_room_for_so_many():
    flow = Flow(1, 2, 0)
    put(flow, "a")
    put(flow, "b")
    with pytest.raises(ValueError, match="no room"):
        flow.dispatch(prompt("c"))
    flow.take(0)
    flow.dispatch(prompt("c"))


def test_records_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="log-prob"):
        Rollout(prompt("a"), 0, (1, 2), (-0.1,), "x", "stop", PolicyVersion(0, "f"))
    with pytest.raises(ValueError, match="advantages"):
        Group((rollout("a"),), (REWARD,), ())
