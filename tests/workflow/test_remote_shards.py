"""Shards of an artifact in S3: the index fetches manifests only, samples come by range."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stage_runs import run_stage_inprocess

from cookhouse.stages.text import TextShards, build_text_shards
from pipelines.core.storage import place
from pipelines.shards.index import Folder, ShardIndex
from pipelines.shards.read import read_json
from pipelines.shards.remote import default_cache
from pipelines.shards.verify import verify


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in "ab":
        rows = (json.dumps({"text": f"{name} {n} " * 40}) + "\n" for n in range(20))
        (tmp_path / "in" / f"{name}.jsonl").write_text("".join(rows))
    return tmp_path / "in"


def test_samples_of_a_remote_artifact_are_read_by_range(s3, lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default_cache.cache_clear()
    config = TextShards(source=str(lines), workers=1)
    artifact = run_stage_inprocess(build_text_shards, config, {}, place("s3://kitchen/root"), step="text")
    s3.requests.clear()
    index = ShardIndex.from_artifacts([artifact])
    assert len(index) == 40
    assert {ref.shard.partition("://")[0] for ref in index.refs} == {"s3"}
    assert not [path for method, path in s3.requests if method == "GET" and path.endswith(".tar")]
    texts = [read_json(ref)["messages"][-1]["content"] for ref in index.refs]
    assert len(set(texts)) == 40
    gets = [path for method, path in s3.requests if method == "GET" and path.endswith(".tar")]
    assert len(gets) == 2  # small shards: one block each, then nothing more
    [read_json(ref) for ref in index.refs]
    assert len([path for method, path in s3.requests if method == "GET" and path.endswith(".tar")]) == 2

    manifest = artifact.address("manifest/text-000000.parquet")
    folder = Folder(place(manifest.rpartition("/manifest/")[0]), "text")
    assert ShardIndex.from_artifacts([folder]).refs == index.refs
    assert verify(folder) == []
    default_cache.cache_clear()
