"""What may be deleted: examples of each kind, and promises that hold for any store."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.workflow.collect import Holding, Kind, Made, Tried, find_waste

DAY = 86400.0


def holding(key: str, *made: Made, tried: tuple[Tried, ...] = (), **more: bool) -> Holding:
    return Holding(Path(f"stage/{key}"), key, made, tried, **more)


def made(number: int, digest: str, *attempts: str, inputs: tuple[tuple[str, str], ...] = ()) -> Made:
    return Made(number, digest, frozenset(attempts), frozenset(inputs))


def names(found) -> list[tuple[str, str]]:
    return [(str(item.kind), item.name) for item in found]


def test_failed_attempts_of_a_committed_key_go_and_those_it_points_into_stay() -> None:
    item = holding(
        "a", made(1, "d", "1-x", "3-z"), tried=(Tried("1-x", 1, 0), Tried("2-y", 1, 0, 7), Tried("3-z", 1, 0))
    )
    (found,) = find_waste([item], {"a"}, older_than_s=DAY)
    assert (found.kind, found.attempts, found.bytes) == (Kind.ATTEMPT, ("2-y",), 7)


def test_young_unfinished_attempts_are_spared_because_units_can_be_adopted() -> None:
    item = holding("a", tried=(Tried("1-x", 1, 2 * DAY), Tried("2-y", 1, 0.5 * DAY)))
    assert names(find_waste([item], (), older_than_s=DAY)) == [("attempt", "a/attempts/1-x")]
    forced = holding("b", made(1, "d", "1-x"), tried=(Tried("1-x", 1, DAY), Tried("2-y", 2, 0.5 * DAY)))
    assert find_waste([forced], {"b"}, older_than_s=DAY) == ()


def test_old_generations_go_unless_somebody_was_made_from_their_bytes() -> None:
    item = holding("a", made(1, "d1", "1-x"), made(2, "d2", "2-y"), tried=(Tried("1-x", 1, 0), Tried("2-y", 2, 0)))
    found = find_waste([item], {"a"}, older_than_s=DAY)
    assert [(waste.kind, waste.generation, waste.attempts) for waste in found] == [(Kind.GENERATION, 1, ("1-x",))]
    reader = holding("b", made(1, "e", "1-z", inputs=(("a", "d1"),)), tried=(Tried("1-z", 1, 0),))
    assert find_waste([item, reader], {"b"}, older_than_s=DAY) == ()


def test_keys_no_root_needs_go_from_the_leaves_up() -> None:
    base, top = holding("a", made(1, "d", "1")), holding("b", made(1, "e", "1", inputs=(("a", "d"),)))
    other = holding("c", made(1, "f", "1"))
    assert names(find_waste([base, top, other], {"c"}, older_than_s=0)) == [("key", "b"), ("key", "a")]
    assert names(find_waste([base, top, other], {"b"}, older_than_s=0)) == [("key", "c")]
    assert find_waste([holding("e", made(1, "g", "1"), live=True)], (), older_than_s=0) == ()


def test_what_an_attempt_reads_stays_while_it_is_made() -> None:
    base = holding("a", made(1, "d", "1"))
    reader = Tried("1-x", 1, 0.0, inputs=frozenset({"a"}))
    assert names(find_waste([base, holding("b", tried=(reader,))], (), older_than_s=DAY)) == [("key", "a")]
    assert find_waste([base, holding("b", tried=(reader,), live=True)], (), older_than_s=DAY) == ()


@st.composite
def stores(draw: st.DrawFn) -> tuple[list[Holding], set[str]]:
    """A random graph of keys, each with generations, adopted attempts and leftovers."""
    found: list[Holding] = []
    for index in range(draw(st.integers(1, 7))):
        attempts = [f"{number}-t" for number in range(1, draw(st.integers(1, 5)) + 1)]
        generations = []
        for number in range(1, draw(st.integers(0, 3)) + 1):
            parents = draw(st.lists(st.sampled_from(found), max_size=2)) if found else []
            inputs = [
                (parent.key, draw(st.sampled_from(parent.made)).content_digest) for parent in parents if parent.made
            ]
            used = draw(st.lists(st.sampled_from(attempts), min_size=1, max_size=3))
            digest = draw(st.sampled_from(["p", "q", "r"]))
            generations.append(made(number, digest, *used, inputs=tuple(inputs)))
        tried = tuple(
            Tried(name, draw(st.integers(1, 4)), draw(st.floats(0, 4 * DAY)), draw(st.integers(0, 9)))
            for name in attempts
        )
        found.append(holding(f"k{index}", *generations, tried=tried, live=draw(st.booleans())))
    roots = draw(st.sets(st.sampled_from([item.key for item in found])))
    return found, roots


@given(stores(), st.integers(0, 60))
@settings(max_examples=400, deadline=None)
def test_stopping_anywhere_leaves_a_store_in_which_everything_committed_is_whole(store, stop) -> None:
    """After any number of deletions: whatever is still committed has its attempts, the keys it was made from, and the
    bytes of them unless it did not have them before; roots and living keys are untouched."""
    found, roots = store
    waste = find_waste(found, roots, older_than_s=DAY)
    before = {(item.key, one.content_digest) for item in found for one in item.made}
    left = {item.key: {one.number: one for one in item.made} for item in found}
    there = {item.key: {tried.name for tried in item.tried} for item in found}
    for item in waste[:stop]:
        key = item.holding.key
        assert not item.holding.live
        for number in list(left[key]) if item.kind is Kind.KEY else [item.generation]:
            left[key].pop(number, None)
        there[key] -= set(item.attempts)
    bytes_left = {(key, one.content_digest) for key, generations in left.items() for one in generations.values()}
    for item in found:
        for one in left[item.key].values():
            assert one.attempts <= there[item.key], "a manifest names a path that is gone"
            assert {pair for pair in one.inputs if pair in before} <= bytes_left, "it was made from what is gone"
        if item.key in roots:
            assert bool(left[item.key]) == bool(item.made)
            assert not item.made or max(left[item.key]) == max(one.number for one in item.made)
