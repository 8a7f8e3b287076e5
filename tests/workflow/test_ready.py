"""The ready set and the admission to CPUs, as pure functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import ConfigError
from pipelines.core.executor import Demand, Resources
from pipelines.workflow.ready import LEAST, ReadySet, admits, refuse_missing


@st.composite
def graphs(draw) -> dict[str, tuple[str, ...]]:
    """A recipe of up to 12 steps, each reading some of the earlier ones."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 12)))]
    return {
        name: tuple(draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else ())
        for index, name in enumerate(names)
    }


@given(graphs(), st.sets(st.integers(0, 11)), st.randoms())
def test_every_step_runs_after_its_parents_unless_one_failed(graph, bad, chance) -> None:
    ready, taken, running, fine = ReadySet(graph), [], [], set()
    while ready or running:
        if ready and (not running or chance.random() < 0.5):
            name = ready.take(lambda name: True)
            assert set(graph[name]) <= fine
            taken.append(name)
            running.append(name)
        else:
            name = running.pop(chance.randrange(len(running)))
            ok = int(name[1:]) not in bad
            fine |= {name} if ok else set()
            ready.finish(name, ok=ok)
    reachable = set()
    for name, parents in graph.items():
        if all(parent in reachable and int(parent[1:]) not in bad for parent in parents):
            reachable.add(name)
    assert set(taken) == reachable
    assert len(taken) == len(set(taken))


def test_a_step_that_does_not_fit_keeps_its_turn() -> None:
    ready = ReadySet({"big": (), "small": ()})
    assert ready.take(lambda name: name == "small") == "small"
    assert ready.take(lambda name: True) == "big"
    assert ready.take(lambda name: True) is None


def demand(cpus: float, shares: bool) -> Demand:
    return Demand(Resources(cpus), Resources() if shares else None)


@given(st.lists(st.builds(demand, st.floats(0.5, 9), st.booleans()), max_size=9), st.floats(0.5, 8))
def test_admission(wants, cpus) -> None:
    cluster = Resources(cpus)
    running: list[Demand] = []
    for want in wants:
        full = not admits(LEAST, running, cluster, None)
        if admits(want, running, cluster, None):
            assert not full, "where the least does not fit, nothing does"
            running.append(want)
    assert not wants or running, "the first always starts"
    if all(one.task for one in running):
        assert len(running) <= max(cpus, 1), "one task of each can run"
    else:
        assert sum(one.whole.cpus for one in running) <= max(cpus, running[0].whole.cpus), "a gang finds its CPUs free"


def test_data_steps_share_all_cpus_and_a_gang_waits_for_them() -> None:
    data, gang, eight = demand(8, True), demand(8, False), Resources(8)
    assert admits(data, [data] * 4, eight, None)
    assert not admits(data, [data] * 8, eight, None)
    assert not admits(gang, [data], eight, None)
    assert not admits(data, [gang], eight, None)
    assert admits(demand(2, False), [demand(2, True)], eight, None)


def test_gpus_and_memory_count_as_cpus_do() -> None:
    gang, ocr = Demand(Resources(2, gpus=1)), Demand(Resources(4, gpus=2), Resources(1, gpus=0.5))
    assert admits(gang, [gang], Resources(8, gpus=2), None)
    assert not admits(gang, [gang], Resources(8, gpus=1), None)
    assert admits(ocr, [ocr], Resources(8, gpus=1), None), "a task of each finds its half"
    assert not admits(ocr, [ocr, ocr], Resources(8, gpus=1), None)
    big = Demand(Resources(1, memory=6 << 30))
    assert not admits(big, [big], Resources(8, memory=8 << 30), None)
    assert admits(big, [big], Resources(8), None), "a memory nobody told is not counted"


def test_a_step_that_never_finds_its_gpus_is_refused_and_one_of_many_cpus_is_not() -> None:
    cluster = Resources(2, gpus=1, memory=8 << 30)
    refuse_missing("many", Demand(Resources(64)), cluster)
    refuse_missing("shares", Demand(Resources(8, gpus=8), Resources(1, gpus=1)), cluster)
    with pytest.raises(ConfigError, match="step 'gang' needs more gpus than the cluster has"):
        refuse_missing("gang", Demand(Resources(2, gpus=2)), cluster)
    with pytest.raises(ConfigError, match="needs more memory"):
        refuse_missing("large", Demand(Resources(2), Resources(1, memory=9 << 30)), cluster)


def test_at_most_max_parallel() -> None:
    assert not admits(LEAST, [LEAST, LEAST], Resources(8), 2)
    assert admits(LEAST, [LEAST], Resources(8), 2)
