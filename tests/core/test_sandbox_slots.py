"""Shared memory between child and parent: nobody's array changes under him, whatever he does with the items."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.sandbox import Sandbox
from pipelines.core.sandbox_slots import SLOTS, ParentSlots, Place

HERE = Path(__file__).parent


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    with Sandbox("sandbox_targets:pictures", 20.0, 1 << 30) as sandbox:
        yield sandbox


def shared_items(sandbox: Sandbox) -> int:
    """Items that lie in slots and that somebody still looks at."""
    gc.collect()
    assert sandbox._slots is not None
    return sum(window() is not None for _, window in sandbox._slots._out)


def test_items_that_are_read_and_dropped_stay_in_the_slots(box: Sandbox) -> None:
    for turn in range(3):
        for number, (small, picture) in enumerate(box.stream(12, 200_000)):
            assert picture.shape == (200_000,) and (picture == number).all() and small == number, turn
            assert shared_items(box) == 1  # the one before was dropped when this one came
            picture[:] = 255  # the consumer may write
    assert box.starts == 1 and box._slots is not None
    assert len(box._slots._maps) == SLOTS  # none had to be left to a consumer


def test_items_that_are_collected_keep_their_bytes(box: Sandbox) -> None:
    for _ in range(2):
        items = [picture for _, picture in box.stream(20, 100_000)]
        assert [int(picture[0]) for picture in items] == list(range(20))
        assert all((picture == picture[0]).all() for picture in items)
    assert [int(p[-1]) for _, p in box.stream(3, 100_000)] == [0, 1, 2]


def test_items_of_growing_size_and_the_last_value_of_a_call(box: Sandbox) -> None:
    kept = []
    for size in (70_000, 3_000_000, 90_000, 6_000_000, 10):
        _, picture = box.call(3, size)
        assert picture.shape == (size,) and (picture == 2).all()
        kept.append(picture)
    assert all((picture == 2).all() for picture in kept)
    assert box.starts == 1


def test_arrays_outlive_the_child(box: Sandbox) -> None:
    stream = box.stream(5, 500_000)
    _, picture = next(stream)
    stream.close()
    box.close()
    assert (picture == 0).all()
    assert int(box.call(2, 500_000)[1][7]) == 1 and box.starts == 2


def test_no_descriptor_is_left_behind(box: Sandbox) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert box.call(2, 100_000)[0] == 1
        box.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "place", [Place(SLOTS, 10, (10,)), Place(0, 10, (11,)), Place(0, 1 << 40, (5,)), Place(0, 9, ())]
)
def test_an_impossible_place_is_refused(place: Place) -> None:
    slots = ParentSlots()
    try:
        with pytest.raises(ValueError, match="impossible place"):
            slots.load(b"", place)
    finally:
        slots.close()


def test_a_slot_cannot_shrink_under_its_reader() -> None:
    slots = ParentSlots()
    try:
        os.ftruncate(slots.files[0], 8192)
        with pytest.raises(PermissionError):
            os.ftruncate(slots.files[0], 4096)
        assert np.frombuffer(os.pread(slots.files[0], 8192, 0), np.uint8).sum() == 0
    finally:
        slots.close()
