from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from stage_runs import plain_folder, run_stage_inprocess

from cookhouse.stages.text import TextShards, build_text_shards
from pipelines.shards.index import ShardIndex
from pipelines.shards.inspect import rows
from pipelines.shards.read import read_json
from toy.corpus.texts import write_texts


def test_every_line_has_a_row(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    lines = [
        '{"text": "one"}',
        "",
        '{"text": "  "}',
        "{",
        '{"text": 3}',
        '["text"]',
        '{"text": "one "}',
        '{"text": "' + "x" * 99 + '"}',
    ]
    (folder / "a.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff"}\n')
    config = TextShards(source=str(folder), max_bytes=50, max_quarantine_share=1.0)
    made = run_stage_inprocess(build_text_shards, config, {}, tmp_path / "store")
    assert [(row.item, row.status, row.category) for row in rows(made)] == [
        (0, "ok", None),
        (1, "filtered", "empty_text"),
        (2, "filtered", "empty_text"),
        (3, "quarantined", "parse"),
        (4, "quarantined", "parse"),
        (5, "quarantined", "parse"),
        (6, "filtered", "duplicate"),
        (7, "filtered", "policy"),
        (8, "quarantined", "parse"),
    ]
    (ref,) = ShardIndex.from_artifacts([made]).refs
    sample = read_json(ref)
    assert (sample["kind"], sample["mode"]) == ("text", "none")
    assert sample["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Continue."}]},
        {"role": "assistant", "content": "one"},
    ]


def test_lines_of_a_users_file_have_splits_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": f"line {i}"}) + "\n" for i in range(400)))
    made = run_stage_inprocess(build_text_shards, TextShards(source=str(folder)), {}, tmp_path / "store")
    assert {row.split for row in rows(made)} == {"train", "val", "test"}


def test_the_corpus_declares_the_splits(tmp_path: Path) -> None:
    listed = write_texts(tmp_path / "corpus", 0)
    (tmp_path / "corpus" / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    corpus = plain_folder(tmp_path / "corpus", "corpus")
    made = run_stage_inprocess(build_text_shards, TextShards(), {"sources": corpus}, tmp_path / "store")
    assert {(row.source, row.split) for row in rows(made)} == {(row["file"], row["split"]) for row in listed}
    assert made.stats["quarantined"] == 0
    assert made.stats["ok"] > 900


def test_parquet_tables_are_read_row_by_row(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["one", None, "two"], "n": [1, 2, 3]}), folder / "a.parquet", row_group_size=1)
    (folder / "b.parquet").write_text("no table")
    config = TextShards(source=str(folder), max_quarantine_share=1.0)
    made = run_stage_inprocess(build_text_shards, config, {}, tmp_path / "store")
    assert [(row.source, row.item, row.status, row.category) for row in rows(made)] == [
        ("a.parquet", 0, "ok", None),
        ("a.parquet", 1, "quarantined", "parse"),
        ("a.parquet", 2, "ok", None),
        ("b.parquet", 0, "quarantined", "parse"),
    ]
    assert str(tmp_path) not in "".join(row.reason or "" for row in rows(made))
