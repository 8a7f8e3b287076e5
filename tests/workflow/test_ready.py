"""The ready set and the admission to CPUs, as pure functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.workflow.ready import ReadySet, admits


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


@given(st.lists(st.floats(0.5, 4), max_size=6), st.floats(0.5, 8))
def test_admission(wants, cpus) -> None:
    running: list[float] = []
    for want in wants:
        if admits(want, running, cpus, None):
            running.append(want)
    assert sum(running) <= max(cpus, running[0] if running else 0)
    assert not wants or running, "the first always starts"


def test_at_most_max_parallel() -> None:
    assert not admits(0.1, [0.1, 0.1], 8, 2)
    assert admits(0.1, [0.1], 8, 2)
