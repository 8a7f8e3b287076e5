"""The store on S3: the same recipe, the same content as in a local folder; a store that fails half-commits nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import fsspec
import pytest
from toy_recipe import carry_out, make_plan_of, recipe

from pipelines.core import storage
from pipelines.core.errors import ConfigError, InfraError, LockError
from pipelines.core.storage import place
from pipelines.core.trail import Trail
from pipelines.workflow.attempt import read_units
from pipelines.workflow.backends.inprocess import InProcess
from pipelines.workflow.files import create_json, read_json
from pipelines.workflow.lease import Lease, holder
from pipelines.workflow.probe import HashCache, list_source
from pipelines.workflow.store import Store
from pipelines.workflow.watch import Timeouts, Watch

URL = "s3://kitchen/root"


@pytest.fixture(autouse=True)
def fast(monkeypatch) -> None:
    monkeypatch.setattr("pipelines.workflow.runner.POLL_S", 0.0)
    monkeypatch.setattr("pipelines.workflow.runner.BACKOFF_S", (0.0,))
    monkeypatch.setattr("pipelines.workflow.watch.LOOK_REMOTE_S", 0.0)


def test_the_same_recipe_gives_the_same_content(s3, tmp_path) -> None:
    remote, local = Store(URL), Store(tmp_path / "local")
    made = carry_out(remote, make_plan_of(remote, recipe()))
    here = carry_out(local, make_plan_of(local, recipe()))
    assert {name: result.status for name, result in made.items()} == dict.fromkeys(made, "ok")
    for name, result in made.items():
        assert (result.record.key, result.record.content_digest) == (
            here[name].record.key,
            here[name].record.content_digest,
        )
    artifact = made["squares"].record.open("squares")
    assert [path.read_text() for path in artifact.glob("parts/*.txt")] == ["0", "1", "4", "9"]
    assert artifact.path("parts").is_dir()
    again = make_plan_of(remote, recipe())
    assert {str(step.decision) for step in again.steps} == {"HIT"}
    text = Trail(made["squares"].record.folder / "attempts" / made["squares"].record.data["attempt"] / "logs/job.log")
    assert "unit 3" in text.new().decode()


def test_a_hit_costs_few_small_reads(s3) -> None:
    store = Store(URL)
    plan = make_plan_of(store, recipe(), until=("numbers",))
    carry_out(store, plan)
    s3.requests.clear()
    assert store.find("toy_numbers", plan["numbers"].key) is not None
    assert len(s3.requests) <= 4, s3.requests


def test_units_of_a_dead_attempt_are_adopted(s3, tmp_path) -> None:
    store = Store(URL)
    crash = tmp_path / "crash"
    crash.write_text("after-1:infra")
    results = carry_out(store, make_plan_of(store, recipe({"crash": str(crash)}), until=("numbers",)))
    assert results["numbers"].status == "ok"
    assert results["numbers"].record.stats["made"] == 2
    manifest = read_json(results["numbers"].record.folder / results["numbers"].record.data["manifest"])
    assert {path.split("/")[1][:2] for path in manifest["attendant"]["places"].values()} == {"1-", "2-"}
    artifact = results["numbers"].record.open("numbers")
    assert [path.read_text() for path in artifact.glob("parts/*.txt")] == ["0", "1", "2", "3"]


def test_units_say_what_they_wrote_and_the_commit_reads_no_file(s3) -> None:
    """The files of a unit may have been made on another machine: the manifest is written from the receipts."""
    store = Store(URL)
    record = carry_out(store, make_plan_of(store, {"spread": {"stage": "toy_stages:spread"}}))["spread"].record
    assert not [path for method, path in s3.requests if method == "GET" and "/parts/" in path]
    ((_, attempt),) = store.attempts(record.folder)
    units = read_units(attempt)
    told = {name: about for unit in units.values() for name, about in unit.files.items()}
    artifact = record.open("spread")
    assert told == {name: {"size": artifact.sizes[name], "sha256": artifact.sha256[name]} for name in artifact.names}
    assert artifact.path("parts/7.txt").read_text() == "7"
    assert not any(Path(unit.folder).exists() for unit in units.values()), "a unit that is up leaves nothing here"


def test_events_of_a_step_are_asked_for_now_and_then(s3, monkeypatch) -> None:
    """A runner looks ten times a second; a bucket is not listed as often."""
    monkeypatch.setattr("pipelines.workflow.watch.LOOK_REMOTE_S", 3600.0)
    store = Store(URL)
    planned = make_plan_of(store, recipe(), until=("numbers",))["numbers"]
    lease = Lease.acquire(planned.facts.folder, run_id="test", step="numbers")
    watch = Watch(store, planned, lease, {}, Timeouts())
    watch.start(InProcess(), lambda _: None, lambda _: None)
    assert len(watch.events()) == 4
    s3.requests.clear()
    assert [watch.events() for _ in range(5)] == [[]] * 5
    assert not s3.requests
    assert watch.events(last=True) == []
    assert len(s3.requests) == 1, "the last look is taken"
    lease.release()


def test_only_one_of_many_creates(s3) -> None:
    path = place(f"{URL}/x/artifact.json")
    won = []
    barrier = threading.Barrier(8)

    def race(number: int) -> None:
        barrier.wait()
        if create_json(path, {"number": number}):
            won.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert read_json(path) == {"number": won[0]}


def test_a_lost_answer_is_not_a_lost_race(s3, monkeypatch) -> None:
    """The write arrived, its answer did not, the client sends it again: we were first all the same."""
    path = place(f"{URL}/x/artifact.json")
    assert create_json(path, {"attempt": "1-abc"})
    assert create_json(path, {"attempt": "1-abc"})
    assert not create_json(path, {"attempt": "1-def"})


def test_a_lease_is_held_lost_and_given_back(s3, monkeypatch) -> None:
    # A beat between the two reads of the one that takes over would win against it.
    monkeypatch.setattr("pipelines.workflow.lease.HEARTBEAT_S", 3600.0)
    folder = place(f"{URL}/toy/numbers-0")
    first = Lease.acquire(folder, run_id="one", step="numbers")
    with pytest.raises(LockError, match="another run"):
        Lease.acquire(folder, run_id="two", step="numbers")
    monkeypatch.setattr("pipelines.workflow.process.is_alive", lambda who: False)
    second = Lease.acquire(folder, run_id="two", step="numbers")
    monkeypatch.setattr("pipelines.workflow.lease.HEARTBEAT_S", 0.0)
    first._beat()
    assert first.lost.is_set(), "the first holder notices"
    first.release()
    assert read_json(folder / "lease.json")["run_id"] == "two", "and does not take the second one's lease away"
    second.release()
    assert holder(folder) is None
    assert not storage.exists(folder / "lease.json")


@pytest.mark.parametrize("part", ["artifact.json", "manifest.json", "units/u2.json", "parts/2.txt", "lease.json"])
def test_a_store_that_answers_500(part, s3) -> None:
    """A clear error, nothing half-committed, and the same run completes when the store is back."""
    store = Store(URL)
    plan = make_plan_of(store, recipe(), until=("numbers",))
    with s3.failing(lambda method, path: method == "PUT" and path.endswith(part)):
        results = carry_out(store, plan)
    assert results["numbers"].status == "failed"
    error = results["numbers"].error
    assert isinstance(error, InfraError) or error.failure == "infra"
    assert "the store does not answer" in error.what
    assert store.find("toy_numbers", plan["numbers"].key) is None
    results = carry_out(store, make_plan_of(store, recipe()))
    assert {result.status for result in results.values()} == {"ok"}
    done = {"parts/2.txt": 2, "units/u2.json": 2, "lease.json": 0}.get(part, 4)
    assert results["numbers"].record.stats["made"] == 4 - done, "what was carried up before is adopted"


def test_a_store_that_does_not_answer(s3, monkeypatch) -> None:
    path = place(f"{URL}/x")
    system = fsspec.filesystem("s3", use_listings_cache=False)
    monkeypatch.setattr(system, "config_kwargs", {"read_timeout": 0.2, "retries": {"total_max_attempts": 1}})
    monkeypatch.setattr(system, "_s3", None)
    monkeypatch.setattr(system, "retries", 1)
    with s3.silent(), pytest.raises(InfraError, match="does not answer") as found:
        storage.names(path)
    assert "s3://kitchen" in found.value.where


def test_sources_are_listed_by_etag_and_copied_once(s3, tmp_path) -> None:
    base = place("s3://kitchen/in")
    for name in ("b.txt", "a.txt", ".hidden", "deep/c.txt"):
        storage.put(base / name, name.encode())
    files = list(list_source("s3://kitchen/in", HashCache(tmp_path / "cache.json")))
    assert [file.name for file in files] == ["a.txt", "b.txt", "deep/c.txt"]
    assert not any(method == "GET" and path.endswith("a.txt") for method, path in s3.requests), "nothing is read"
    assert files[0].path.read_bytes() == b"a.txt"
    reads = len([1 for method, path in s3.requests if method == "GET" and path.endswith("/a.txt")])
    assert files[0].path.read_bytes() == b"a.txt"
    assert len([1 for method, path in s3.requests if method == "GET" and path.endswith("/a.txt")]) == reads
    old = files[0].sha256
    storage.put(base / "a.txt", b"changed")
    files = list(list_source("s3://kitchen/in", HashCache(tmp_path / "cache.json")))
    assert files[0].sha256 != old
    assert files[0].path.read_bytes() == b"changed"
    assert [f.name for f in list_source("s3://kitchen/in/*.txt", HashCache(tmp_path / "c.json"))] == ["a.txt", "b.txt"]
    with pytest.raises(ConfigError, match="holds no file"):
        list(list_source("s3://kitchen/nothing", HashCache(tmp_path / "c.json")))


def test_a_recipe_over_a_remote_source(s3, tmp_path) -> None:
    for name in ("a", "b"):
        storage.put(place(f"s3://kitchen/in/{name}"), name.encode())
    store = Store(tmp_path / "local")
    plan = make_plan_of(store, recipe({"source": "s3://kitchen/in"}))
    assert carry_out(store, plan)["numbers"].record.stats["samples"] == 2
    assert str(make_plan_of(store, recipe({"source": "s3://kitchen/in"}))["numbers"].decision) == "HIT"
    storage.put(place("s3://kitchen/in/c"), b"c")
    again = make_plan_of(store, recipe({"source": "s3://kitchen/in"}))
    assert again["numbers"].reasons[0].startswith("source source ")


def test_a_tampered_object_is_refused(s3, tmp_path, monkeypatch) -> None:
    store = Store(URL)
    record = carry_out(store, make_plan_of(store, recipe(), until=("numbers",)))["numbers"].record
    artifact = record.open("numbers")
    storage.put(record.folder / artifact.places["parts/1.txt"], b"other")
    monkeypatch.setenv("COOKHOUSE_HOME", str(tmp_path / "another machine"))
    from pipelines.core.errors import DataError

    with pytest.raises(DataError, match="not what its manifest says"):
        record.open("numbers").path("parts/1.txt")


def test_an_unknown_scheme_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match="cannot reach nosuch://"):
        place("nosuch://bucket/x")


def test_run_records_stay_on_this_machine(s3, tmp_path) -> None:
    home = Store(URL).home
    assert home.parent == tmp_path / "home"
    assert home != Store("s3://kitchen/other").home
