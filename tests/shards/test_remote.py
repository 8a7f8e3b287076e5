"""Shards in an object store: ranges through a bounded cache, equal to what a local folder gives."""

from __future__ import annotations

import multiprocessing
import os
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.storage import place
from pipelines.shards import inspect, remote
from pipelines.shards.index import Folder, ShardIndex
from pipelines.shards.read import read_range, read_sample
from pipelines.shards.remote import ShardCache, default_cache
from pipelines.shards.verify import verify


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardCache:
    monkeypatch.setenv("COOKHOUSE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(remote.LIMIT, "0.05")
    default_cache.cache_clear()
    yield default_cache()
    default_cache.cache_clear()


@pytest.fixture
def stored(folder: Folder, cache: ShardCache, tmp_path: Path) -> Folder:
    url = f"memory://{tmp_path.name}/set"
    fsspec.filesystem("memory").put(str(folder.root), url, recursive=True)
    return Folder(place(url), "set")


def test_a_remote_folder_gives_the_samples_of_the_local_one(stored: Folder, folder: Folder) -> None:
    local, far = ShardIndex.from_artifacts([folder]), ShardIndex.from_artifacts([stored])
    assert [replace(ref, shard="") for ref in far.refs] == [replace(ref, shard="") for ref in local.refs]
    assert all(ref.shard.startswith("memory://") for ref in far.refs)
    assert [read_sample(ref) for ref in far.refs] == [read_sample(ref) for ref in local.refs]
    assert verify(stored) == []
    assert inspect.stats(stored) == inspect.stats(folder)


def test_a_range_is_fetched_once(stored: Folder, cache: ShardCache) -> None:
    ref = ShardIndex.from_artifacts([stored]).refs[0]
    for _ in range(3):
        read_sample(ref)
    assert cache.fetched == os.path.getsize(next(Path(cache.folder).glob("??/*")))
    assert cache.hits == 2


def test_a_missing_and_a_short_remote_shard_are_refused_by_the_index(stored: Folder) -> None:
    memory = fsspec.filesystem("memory")
    url = stored.address("shards/unit-000000.tar")
    data = memory.cat_file(url)
    memory.pipe_file(url, data[:-512])
    with pytest.raises(DataError, match="its manifest says"):
        ShardIndex.from_artifacts([stored])
    memory.rm(url)
    with pytest.raises(DataError, match="a shard is missing"):
        ShardIndex.from_artifacts([stored])
    assert [problem.kind for problem in verify(Folder(stored.root))] == ["missing"]


def test_a_replaced_object_is_not_mixed_with_its_old_blocks(stored: Folder, tmp_path: Path) -> None:
    url = stored.address("shards/unit-000000.tar")
    assert ShardCache(tmp_path / "c", 1 << 20, block=4096).read(url, 0, 5) == b"a-0.j"
    fsspec.filesystem("memory").pipe_file(url, b"x" * 9000)
    assert ShardCache(tmp_path / "c", 1 << 20, block=4096).read(url, 4000, 5001) == b"x" * 5000


@pytest.fixture
def big(tmp_path: Path) -> tuple[str, bytes]:
    """A file behind a URL that other processes can reach too."""
    data = random.Random(0).randbytes(300_000)
    (tmp_path / "big.tar").write_bytes(data)
    return f"file://{tmp_path}/big.tar", data


def read_at_random(folder: str, url: str, data: bytes, seed: int) -> int:
    """Ranges through a cache that is too small for the file; the number of wrong answers."""
    cache, draws = ShardCache(folder, 64 << 10, block=4096), random.Random(seed)
    wrong = 0
    for _ in range(150):
        offset, length = draws.randrange(len(data)), draws.randrange(1, 9000)
        wrong += cache.read(url, offset, length) != data[offset : offset + length]
    return wrong


def test_processes_and_threads_share_a_cache_that_overflows(big: tuple[str, bytes], tmp_path: Path) -> None:
    url, data = big
    folder = str(tmp_path / "cache")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        far = pool.starmap_async(read_at_random, [(folder, url, data, seed) for seed in range(2)])
        with ThreadPoolExecutor(3) as threads:
            near = list(threads.map(lambda seed: read_at_random(folder, url, data, seed), range(2, 5)))
        assert near + far.get(120) == [0] * 5
    left = sum(path.stat().st_size for path in Path(folder).glob("??/*"))
    assert left <= 2 * (64 << 10)


def test_a_cache_left_full_by_others_is_swept_at_the_first_fetch(big: tuple[str, bytes], tmp_path: Path) -> None:
    url, data = big
    for seed in range(12):  # each process stays below what makes it look, together they do not
        cache = ShardCache(tmp_path / "cache", 64 << 10, block=4096)
        cache.read(url, seed * 20_000, 9000)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("??/*")) <= 64 << 10
    assert data


def test_a_cache_without_room_and_a_limit_that_is_no_number_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="holds no two blocks"):
        ShardCache(tmp_path, 1000)
    monkeypatch.setenv(remote.LIMIT, "much")
    default_cache.cache_clear()
    with pytest.raises(ConfigError, match="'much', not a number"):
        default_cache()
    default_cache.cache_clear()


def test_nothing_at_the_address(cache: ShardCache) -> None:
    with pytest.raises(DataError, match="nothing at this address"):
        read_range("memory://nowhere/x.tar", 0, 1)
    with pytest.raises(ConfigError, match="cannot reach gopher"):
        read_range("gopher://nowhere/x.tar", 0, 1)
