from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.documents.plan import Bounds, PageUnit, Verdict, plan_pages, spans_of
from pipelines.documents.plan_file import read_plan, write_plan
from pipelines.shards.plan import SourceItem


def item(number: int, split: str = "train", family: str = "card", sha256: str = "") -> SourceItem:
    name = f"file-{number:03d}.pdf"
    return SourceItem(f"/data/{name}", name, 10, sha256 or f"{number:064x}", split, family)


def bounds(cost: int) -> Bounds:
    return Bounds(cost, 10_000, 1 << 40, 1_000_000)


def covered(units: list[PageUnit]) -> dict[str, list[int]]:
    pages: dict[str, list[int]] = {}
    for unit in units:
        for span in unit.spans:
            pages.setdefault(span.source.name, []).extend(range(span.first, span.last))
    return pages


@given(
    files=st.lists(
        st.tuples(
            st.integers(1, 300), st.sampled_from(["train", "test", "val"]), st.sampled_from(["card", "page", "scan"])
        ),
        min_size=1,
        max_size=30,
    ),
    unit_cost=st.integers(1, 2000),
    views=st.integers(1, 3),
)
@settings(deadline=None)
def test_every_page_is_planned_once_in_order_and_units_hold_one_split(
    files: list[tuple[int, str, str]], unit_cost: int, views: int
) -> None:
    items = [item(i, split, family) for i, (_, split, family) in enumerate(files)]
    counts = {items[i].name: count for i, (count, _, _) in enumerate(files)}
    units = plan_pages(spans_of(items, counts, 10_000), bounds(unit_cost), views)
    assert covered(units) == {name: list(range(count)) for name, count in counts.items()}
    for unit in units:
        assert {span.source.split for span in unit.spans} == {unit.name.rpartition("-")[0]}
        assert all(span.first < span.last for span in unit.spans)
    assert len({unit.name for unit in units}) == len(units)


def test_the_plan_does_not_depend_on_the_order_of_the_listing() -> None:
    items = [item(i, "train" if i % 3 else "test") for i in range(20)]
    counts = {one.name: 7 + i for i, one in enumerate(items)}
    expected = plan_pages(spans_of(items, counts, 1000), bounds(40), 2)
    random.Random(0).shuffle(items)
    assert plan_pages(spans_of(items, counts, 1000), bounds(40), 2) == expected


def test_units_are_balanced_and_long_files_are_cut() -> None:
    items = [item(0), item(1), item(2)]
    units = plan_pages(
        spans_of(items, {items[0].name: 1000, items[1].name: 10, items[2].name: 90}, 10_000), bounds(256), 1
    )
    assert [unit.cost for unit in units] == [220, 220, 220, 220, 220]


def test_copies_bad_files_and_endless_files_are_one_row_each() -> None:
    items = [item(0, sha256="a" * 64), item(1, sha256="a" * 64), item(2), item(3)]
    verdict = Verdict("quarantined", "encrypted", "the file needs a password")
    pages = {items[0].name: 3, items[1].name: 3, items[2].name: verdict, items[3].name: 10**9}
    spans = spans_of(items, pages, 20_000)
    told = [span.verdict and (span.verdict.status, span.verdict.category) for span in spans]
    assert told == [None, ("filtered", "duplicate"), ("quarantined", "encrypted"), ("quarantined", "policy")]
    assert spans[1].verdict is not None
    assert spans[1].verdict.reason == "same bytes as file-000.pdf"
    units = plan_pages(spans, bounds(100), 2)
    assert sum(len(unit.spans) for unit in units) == 4


def test_the_plan_file_gives_the_units_back_and_names_no_place_of_this_machine(tmp_path: Path) -> None:
    items = [item(0, sha256="a" * 64), item(1, sha256="a" * 64), item(2, "test"), item(3)]
    verdict = Verdict("quarantined", "encrypted", "the file needs a password")
    spans = spans_of(items, {items[0].name: 90, items[1].name: 90, items[2].name: 5, items[3].name: verdict}, 1000)
    units = plan_pages(spans, bounds(30), 2)
    write_plan(tmp_path / "plan.parquet", units)
    assert b"/data" not in (tmp_path / "plan.parquet").read_bytes()
    moved = [replace(one, address=f"/elsewhere/{one.name}") for one in items]
    again = read_plan(tmp_path / "plan.parquet", moved)
    assert [unit.name for unit in again] == [unit.name for unit in units]
    assert all(span.source.path.startswith("/elsewhere/") for unit in again for span in unit.spans)
    write_plan(tmp_path / "again.parquet", again)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "plan.parquet").read_bytes()


def test_units_are_bounded_by_samples_and_by_bytes() -> None:
    items = [item(i, family="page") for i in range(4)]
    spans = spans_of(items, {one.name: 300 for one in items}, 1000)

    def pages(bound: Bounds) -> int:
        return max(sum(span.pages for span in unit.spans) for unit in plan_pages(spans, bound, 2))

    assert pages(Bounds(1_000_000, 1 << 30, 1 << 40, 1000)) == 1200
    assert pages(Bounds(1_000_000, 100, 1 << 40, 1000)) == 50, "two views a page"
    assert pages(Bounds(1_000_000, 1 << 30, 20_000_000, 1_000_000)) == 50, "200 kB a view"


def test_no_file_no_unit() -> None:
    assert plan_pages(spans_of([], {}, 10), bounds(10), 1) == []


@pytest.mark.parametrize("views", [1, 2])
def test_a_unit_holds_at_most_its_cost_up_to_one_page(views: int) -> None:
    items = [item(i, family="page") for i in range(9)]
    units = plan_pages(spans_of(items, {one.name: 5 for one in items}, 100), bounds(100), views)
    assert all(unit.cost * views <= 100 + 8 * views for unit in units)
