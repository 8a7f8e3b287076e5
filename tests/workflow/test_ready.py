"""The ready set and the admission to CPUs, as pure functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.workflow.ready import LEAST, Demand, ReadySet, admits


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


@given(st.lists(st.builds(Demand, st.floats(0.5, 9), st.booleans()), max_size=9), st.floats(0.5, 8))
def test_admission(wants, cpus) -> None:
    running: list[Demand] = []
    for want in wants:
        full = not admits(LEAST, running, cpus, None)
        if admits(want, running, cpus, None):
            assert not full, "where the least does not fit, nothing does"
            running.append(want)
    assert not wants or running, "the first always starts"
    if all(one.shares for one in running):
        assert len(running) <= max(cpus, 1), "one task of each can run"
    else:
        assert sum(one.cpus for one in running) <= max(cpus, running[0].cpus), "a gang finds its CPUs free"


def test_data_steps_share_all_cpus_and_a_gang_waits_for_them() -> None:
    data, gang = Demand(8, True), Demand(8, False)
    assert admits(data, [data] * 4, 8, None)
    assert not admits(data, [data] * 8, 8, None)
    assert not admits(gang, [data], 8, None)
    assert not admits(data, [gang], 8, None)
    assert admits(Demand(2, False), [Demand(2, True)], 8, None)


def test_at_most_max_parallel() -> None:
    assert not admits(LEAST, [LEAST, LEAST], 8, 2)
    assert admits(LEAST, [LEAST], 8, 2)
