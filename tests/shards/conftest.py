"""A small set of shards to test on: 2 units, 7 written samples, 1 filtered, 1 quarantined, 1 without labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.shards.index import Folder
from pipelines.shards.manifest import Row
from pipelines.shards.sample import sample_json, text_content, turn
from pipelines.shards.unit import Item, write_unit


def item(key: str, split: str = "train", status: str = "ok", tags: tuple[str, ...] = ()) -> Item:
    """A text sample whose target is its key, or a row that was left out."""
    bad = {} if status == "ok" else {"category": "parse", "reason": "it is broken"}
    row = Row(
        key,
        status,
        "test",
        f"{key}.txt",
        "0" * 64,
        split,
        "text",
        text_bytes=len(key),
        tags=tags,
        **bad,  # type: ignore[arg-type]
    )
    if status != "ok":
        return row, None
    return row, {
        "json": sample_json("text", split, "none", turn([text_content("Continue.")], key), {}),
        "jpg": b"\xff" * 700,
    }


UNITS = {
    "unit-000000": [item("a-0"), item("a-1", "val"), item("a-2", "test"), item("a-3", status="filtered")],
    "unit-000001": [
        item("b-0"),
        item("b-1"),
        item("b-2", tags=("unlabelled",)),
        item("b-3"),
        item("b-4", status="quarantined"),
    ],
}


@pytest.fixture
def make_item() -> Callable[..., Item]:
    return item


@pytest.fixture
def units() -> dict[str, list[Item]]:
    return UNITS


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    for name, items in UNITS.items():
        write_unit(tmp_path / "set", name, items)
    return Folder(tmp_path / "set", "set")
