"""Consume-once, the hard bound on age, and the balance of outcomes."""

import pytest

from rl.flow import GroupBuffer, Ledger
from rl.records import Completion, Group, Judgement, PolicyVersion, Prompt, Question, Reward, Rollout


def group(uid: str, step: int) -> Group:
    version = PolicyVersion(step, "f")
    completion = Completion((1,), (-0.1,), "x", "stop", ((0, 1, version),))
    prompt = Prompt(uid, Question("k", "add", "short", "1", "number", ()))
    reward = Reward(1.0, Judgement(1.0, 1.0, 0.0, "correct"))
    return Group(Rollout(prompt, (completion,), version), (reward,), (0.5,))


def test_each_group_is_taken_once():
    buffer = GroupBuffer(1)
    buffer.add(group("a", 3))
    assert [len(part) for part in buffer.take(3)] == [1, 0]
    assert buffer.take(3) == ([], [])
    assert len(buffer) == 0
    with pytest.raises(ValueError, match="twice"):
        buffer.add(group("a", 3))


@pytest.mark.parametrize(("bound", "age", "fresh"), [(0, 0, True), (0, 1, False), (1, 1, True), (1, 2, False)])
def test_the_bound_is_hard(bound, age, fresh):
    buffer = GroupBuffer(bound)
    buffer.add(group("a", 5))
    kept, stale = buffer.take(5 + age)
    assert (len(kept), len(stale)) == ((1, 0) if fresh else (0, 1))


def test_ledger_balances_and_refuses_double_counting():
    ledger = Ledger()
    for uid in "abc":
        ledger.dispatch(uid)
    ledger.close("a", "trained")
    ledger.close("b", "failed")
    assert ledger.balanced()
    assert ledger.in_flight == 1
    with pytest.raises(ValueError, match="not in flight"):
        ledger.close("a", "trained")
    with pytest.raises(ValueError, match="already"):
        ledger.dispatch("c")


def test_records_refuse_what_does_not_fit():
    version = PolicyVersion(0, "f")
    with pytest.raises(ValueError, match="log-prob"):
        Completion((1, 2), (-0.1,), "x", "stop", ((0, 2, version),))
    with pytest.raises(ValueError, match="spans"):
        Completion((1, 2), (-0.1, -0.2), "x", "stop", ((0, 1, version),))
    with pytest.raises(ValueError, match="advantages"):
        Group(group("a", 0).rollout, (Reward(1.0, Judgement(1.0, 1.0, 0.0, "correct")),), ())
