from __future__ import annotations

import pytest

from pipelines.core.errors import DataError
from pipelines.shards.index import Folder, ShardIndex
from pipelines.shards.walk import Walk


def damage(folder: Folder) -> ShardIndex:
    """Flip a bit of b-1."""
    index = ShardIndex.from_artifacts([folder])
    ref = next(ref for ref in index.refs if ref.key == "b-1")
    path = folder.path("shards/unit-000001.tar")
    data = bytearray(path.read_bytes())
    data[ref.offset + 520] ^= 1
    path.write_bytes(data)
    return index


def test_a_walk_follows_the_shards(folder: Folder) -> None:
    index = ShardIndex.from_artifacts([folder])
    walk = Walk(reversed(index.refs))
    assert [ref.key for ref, _ in walk] == [ref.key for ref in index.refs]
    assert walk.skipped == []


def test_a_damaged_sample_fails_or_is_skipped_with_a_row(folder: Folder) -> None:
    index = damage(folder)
    with pytest.raises(DataError, match="'b-1' are not those"):
        list(Walk(index.refs))
    walk = Walk(index.refs, "skip", most=0.2)
    for _ in range(2):  # a walk can be walked again and counts anew
        assert [ref.key for ref, _ in walk] == ["a-0", "a-1", "a-2", "b-0", "b-2", "b-3"]
        assert [(skipped.ref.key, "not those" in skipped.reason) for skipped in walk.skipped] == [("b-1", True)]


def test_too_many_damaged_samples_end_the_walk(folder: Folder) -> None:
    with pytest.raises(DataError, match="1 of 7 samples cannot be read, above 10%"):
        list(Walk(damage(folder).refs, "skip", most=0.1))
