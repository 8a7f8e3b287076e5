"""gc on a real store: what is listed goes, and everything that is left is still whole and still a HIT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.workflow.lease import Lease
from pipelines.workflow.store import Store

RUN = ("run", "recipe=toy", "--backend", "inprocess")


@pytest.fixture
def used(cookhouse, here) -> Store:
    """Three configurations, a failed attempt, a forced generation."""
    crash = here / "crash"
    crash.write_text("after-1:bug")
    assert cookhouse(*RUN, f"steps.numbers.crash={crash}")[0] == 1
    crash.write_text("after-2:bug")
    assert cookhouse(*RUN, f"steps.numbers.crash={crash}")[0] == 1
    assert cookhouse(*RUN)[0] == 0
    assert cookhouse(*RUN, "--force", "squares")[0] == 0
    assert cookhouse(*RUN, "steps.numbers.count=6")[0] == 0
    return Store(here / "artifacts")


def waste(cookhouse, *arguments: str) -> list[tuple[str, str]]:
    code, out, _ = cookhouse("gc", "--json", *arguments)
    assert code == 0
    return [(item["kind"], item["name"].partition("-")[0]) for item in json.loads(out)["waste"]]


def whole(store: Store) -> None:
    """Every committed record of the store can be opened and has its files."""
    records = [record for name in ("toy_numbers", "toy_squares", "toy_total") for record in store.records(name)]
    assert records
    for record in records:
        artifact = record.open(record.step)
        assert all((record.folder / path).is_file() for path in artifact.places.values())
        for row in (row for rows in record.data["inputs"].values() for row in rows):
            assert list(Path(row["folder"]).glob("artifact*.json"))


def test_nothing_goes_without_yes(used, cookhouse) -> None:
    before = sorted(used.root.rglob("*"))
    code, out, _ = cookhouse("gc", "--dry-run", "--older-than", "0s")
    assert code == 0
    assert "nothing was deleted" in out
    assert sorted(used.root.rglob("*")) == before
    assert cookhouse("gc", "--dry-run", "--yes")[0] == 2
    assert cookhouse("gc", "--older-than", "soon")[0] == 2


def test_old_generations_go_and_adopted_attempts_stay(used, cookhouse) -> None:
    assert waste(cookhouse) == [("generation", "squares")]
    assert cookhouse("gc", "--yes")[0] == 0
    whole(used)
    assert waste(cookhouse) == []
    out = cookhouse("plan", "recipe=toy", "--detailed-exitcode")
    assert out[0] == 0, "everything is still a HIT"


def test_keys_no_recent_run_needs_go_and_a_named_recipe_keeps_its_own(used, cookhouse) -> None:
    names = waste(cookhouse, "--keep-runs", "1")
    assert [item for item in names if item[0] == "key"] == [("key", "total"), ("key", "squares"), ("key", "numbers")]
    assert waste(cookhouse, "--keep-runs", "1", "recipe=toy") == [("generation", "squares")]
    assert cookhouse("gc", "--keep-runs", "1", "--yes")[0] == 0
    whole(used)
    assert cookhouse("plan", "recipe=toy", "steps.numbers.count=6", "--detailed-exitcode")[0] == 0
    assert cookhouse("plan", "recipe=toy", "--detailed-exitcode")[0] == 3
    assert waste(cookhouse, "--keep-runs", "1") == []


def test_unfinished_attempts_go_when_they_are_old(cookhouse, here) -> None:
    crash = here / "crash"
    crash.write_text("after-1:bug")
    cookhouse(*RUN, f"steps.numbers.crash={crash}")
    assert waste(cookhouse) == []
    assert waste(cookhouse, "--older-than", "0s") == [("attempt", "numbers")]
    assert cookhouse("gc", "--older-than", "0s", "--yes")[0] == 0
    assert "RUN" in cookhouse("plan", "recipe=toy")[1]
    assert not list((here / "artifacts").glob("toy_numbers/*"))


def test_a_key_somebody_began_to_use_meanwhile_is_left_alone(used, cookhouse) -> None:
    from pipelines.workflow.collect import find_waste
    from pipelines.workflow.dispose import dispose, holdings

    found = find_waste(holdings(used), set(), older_than_s=0.0)
    first = found[0]
    lease = Lease.acquire(first.holding.folder, run_id="other", step="total")
    assert dispose(used, first) is False
    lease.release()
    assert dispose(used, first) is True
    assert not first.holding.folder.exists()
