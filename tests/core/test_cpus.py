"""How many CPUs there are, and what each process gets of them."""

from __future__ import annotations

import os

import pytest

from pipelines.core import cpus
from pipelines.core.cpus import MOST_THREADS, Room, given_cpus, given_gpus, given_memory


@pytest.mark.parametrize(
    ("room", "processes", "threads"),
    [
        (Room(1, 1), 2, 1),
        (Room(2, 2), 2, 1),
        (Room(8, 8), 2, 4),
        (Room(64, 64), 2, MOST_THREADS),
        (Room(64, 64), 64, 1),
        (Room(64, 4), 2, 4),  # nodes of four
    ],
)
def test_threads_of_a_process(room: Room, processes: int, threads: int) -> None:
    assert room.threads(processes) == threads


@pytest.mark.parametrize(("quota", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_a_container_is_given_what_its_quota_pays_for(tmp_path, monkeypatch, quota: str, most: int | None) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    monkeypatch.setattr(cpus, "QUOTA", file)
    assert given_cpus() == (most or len(os.sched_getaffinity(0)))


def test_a_bound_process_is_given_what_it_is_bound_to(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(cpus, "QUOTA", tmp_path / "none")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert given_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("1", 1), ("0,1", 2), ("", 0), ("-1", 0), ("MIG-a", 1)])
def test_the_gpus_given_are_those_that_can_be_seen(tmp_path, monkeypatch, visible: str | None, count: int) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(cpus, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert given_gpus() == count


def test_a_container_is_given_the_memory_of_its_limit(tmp_path, monkeypatch) -> None:
    file = tmp_path / "memory.max"
    monkeypatch.setattr(cpus, "MEMORY_LIMIT", file)
    machine = given_memory()
    assert machine > 1 << 28
    file.write_text("max")
    assert given_memory() == machine
    file.write_text(str(1 << 28))
    assert given_memory() == 1 << 28
