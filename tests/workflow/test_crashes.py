"""kill -9 at every point of a step's life, by real processes: after a rerun the store is as if nothing had happened."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import crash_driver
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_recipe import carry_out, make_plan_of, recipe

from pipelines.core.errors import ConfigError, CookhouseError
from pipelines.workflow.lease import holder
from pipelines.workflow.store import COMMIT, Store, read_record

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["crash_driver"])
KILLED = -signal.SIGKILL
EVERY = 11
"""The quick sample of kill points takes each eleventh."""


def run(root: Path, kill_at: int | None = None, report: Path | None = None) -> multiprocessing.Process:
    process = SPAWN.Process(target=crash_driver.drive, args=(str(root), kill_at, str(report or "")))
    process.start()
    return process


def finish(root: Path, tmp: Path) -> dict:
    """An undisturbed run to the end, and what it reported."""
    report = tmp / f"report-{os.urandom(4).hex()}.json"
    process = run(root, report=report)
    process.join(60)
    assert process.exitcode == 0
    return json.loads(report.read_text())


def state(root: Path) -> dict[str, tuple[str, str, int]]:
    """Stage -> (key, content digest, number of commits), after a look at everything the manifests name."""
    found = {}
    for folder in sorted(root.glob("toy_*/*")):
        record = read_record(folder)
        assert record is not None, f"nothing committed in {folder}"
        manifest = json.loads((folder / record.data["manifest"]).read_text())
        for row in manifest["content"]["files"]:
            data = (folder / manifest["attendant"]["places"][row["path"]]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == row["sha256"]
        commits = sum(1 for path in folder.iterdir() if COMMIT.fullmatch(path.name))
        found[str(record.data["stage"])] = (record.key, record.content_digest, commits)
        assert holder(folder) is None
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, tuple[str, str, int]]]:
    """(points of one run, the state it leaves)."""
    folder = tmp_path_factory.mktemp("undisturbed")
    told = finish(folder / "root", folder)
    assert set(told["steps"].values()) == {"ok"}
    return told["points"], state(folder / "root")


def kill_and_rerun(points: Iterator[int], tmp_path: Path, wanted: dict) -> int:
    done = 0
    for point in points:
        root = tmp_path / str(point)
        process = run(root, kill_at=point)
        process.join(60)
        assert process.exitcode == KILLED, f"point {point} was not reached"
        told = finish(root, tmp_path)
        assert set(told["steps"].values()) <= {"ok", "hit"}
        assert state(root) == wanted, f"killed at point {point}"
        done += 1
    return done


def test_killed_at_a_sample_of_write_points(undisturbed, tmp_path) -> None:
    points, wanted = undisturbed
    assert points > 100, "the points of three steps"
    assert kill_and_rerun(iter(range(3, points, EVERY)), tmp_path, wanted) > 10


@pytest.mark.slow
def test_killed_at_every_write_point(undisturbed, tmp_path) -> None:
    points, wanted = undisturbed
    assert kill_and_rerun(iter(range(points)), tmp_path, wanted) == points


def concurrently(kills: list[int | None], root: Path, tmp_path: Path, wanted: dict) -> None:
    """Drivers at the same time, each killed at its point (or not), then one that is left alone."""
    processes = [run(root, kill_at=point) for point in kills]
    for process, point in zip(processes, kills, strict=True):
        process.join(90)
        assert process.exitcode in ((0,) if point is None else (0, KILLED))
    told = finish(root, tmp_path)
    assert set(told["steps"].values()) <= {"ok", "hit"}
    assert state(root) == wanted


COUNTER = itertools.count()
KILLS = st.lists(st.one_of(st.none(), st.integers(0, 200)), min_size=2, max_size=2)


@given(kills=KILLS)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_two_drivers_and_kills(kills, undisturbed, tmp_path) -> None:
    concurrently(kills, tmp_path / f"root-{next(COUNTER)}", tmp_path, undisturbed[1])


@pytest.mark.slow
@given(kills=st.lists(st.one_of(st.none(), st.integers(0, 200)), min_size=2, max_size=3))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_drivers_and_kills(kills, undisturbed, tmp_path) -> None:
    concurrently(kills, tmp_path / f"root-{next(COUNTER)}", tmp_path, undisturbed[1])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def leave_free(ballast: Path, kilobytes: int) -> None:
    """Fill the disk up to so many KB."""
    ballast.unlink(missing_ok=True)
    free = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - (kilobytes << 10)))


def test_a_full_disk(small_disk: Path, tmp_path, undisturbed) -> None:
    """One clear message at whatever moment the disk fills up, nothing half-committed; with space again the same run
    completes."""
    store = Store(small_disk / "root")
    plan = make_plan_of(store, recipe())
    failures = 0
    for left in itertools.count(4, 12):
        leave_free(small_disk / "ballast", left)
        failed = [result for result in carry_out(store, plan).values() if result.error is not None]
        if not failed:
            break
        failures += 1
        assert isinstance(failed[0].error, CookhouseError)
        assert "the disk is full" in failed[0].error.what
        assert "storage.root=" in failed[0].error.do
    assert failures > 3
    (small_disk / "ballast").unlink()
    carry_out(store, make_plan_of(store, recipe()))
    assert state(small_disk / "root") == undisturbed[1]


def test_a_read_only_root(small_disk: Path, undisturbed) -> None:
    store = Store(small_disk / "root")
    plan = make_plan_of(store, recipe())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    results = carry_out(store, plan)
    error = results["numbers"].error
    assert isinstance(error, ConfigError)
    assert "cannot be written" in error.what
    assert str(small_disk) in error.where
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    carry_out(store, make_plan_of(store, recipe()))
    assert state(small_disk / "root") == undisturbed[1]
