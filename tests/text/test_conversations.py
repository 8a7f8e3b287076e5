"""From tables of conversations to shards, and from there into training."""

from __future__ import annotations

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from stage_runs import run_stage_inprocess

from cookhouse.stages.conversations import (
    ConversationShards,
    InterleavedShards,
    build_conversation_shards,
    build_interleaved_shards,
)
from model.config import ModelConfig
from model.processor import Processor
from model.tokenizer import build_byte_tokenizer
from model.training.loader import encode_item
from model.training.order import Item
from pipelines.core.errors import ConfigError
from pipelines.shards.index import ShardIndex
from pipelines.shards.inspect import rows
from pipelines.shards.read import decode_parts, read_sample
from pipelines.shards.verify import verify
from pipelines.text import conversations
from pipelines.workflow.stage import Artifact
from toy.corpus.clips import write_clips


def chat(question: str, answer: str, **more: Any) -> dict:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("chats")
    made = tmp_path_factory.mktemp("clips")
    write_clips(made, 0)
    (place / "media").mkdir()
    (place / "media" / "clip.mp4").write_bytes((made / "videos" / "clip-00-h264.mp4").read_bytes())
    Image.new("RGB", (60, 40), "red").save(place / "media" / "red.png")
    (place / "media" / "cut.png").write_bytes((place / "media" / "red.png").read_bytes()[:60])
    (place.parent / "secret.png").write_bytes((place / "media" / "red.png").read_bytes())
    lines = [
        chat("<image>Which colour?", "Red.", images=["media/red.png"]),
        chat("<video>What appears?", "<think>I look.</think>A word.", videos=["media/clip.mp4"]),
        chat("Two and two?", "Four."),
        chat("Two and two?", "Four."),
        chat("<image>Broken?", "Yes.", images=["media/cut.png"]),
        chat("<image>Gone?", "Yes.", images=["media/gone.png"]),
        chat("<image>Outside?", "Yes.", images=["../secret.png"]),
        chat("Long?", "x" * 2000),
        {"messages": []},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + "\nnot json\n\n"
    (place / "a.jsonl").write_text(text)
    buffer = io.BytesIO()
    Image.new("RGB", (30, 30), "blue").save(buffer, "PNG")
    share = [{"from": "human", "value": "<image>Colour?"}, {"from": "gpt", "value": "Blue."}]
    row = {"conversations": share, "images": [{"bytes": buffer.getvalue(), "path": None}]}
    pq.write_table(pa.Table.from_pylist([row]), place / "b.parquet")
    return place


REPO = Path(__file__).resolve().parents[2]
CONFIG = {"max_bytes": 1000, "rows_per_unit": 4, "max_quarantine_share": 1.0, "view_pixels": 25600}


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = tmp_path_factory.mktemp("store")
    return run_stage_inprocess(build_conversation_shards, ConversationShards(source=str(folder), **CONFIG), {}, store)


def test_every_row_of_every_table_is_accounted_for(made: Artifact, folder: Path) -> None:
    told = {(row.source, row.item): (row.status, row.category, row.tags) for row in rows(made)}
    assert told == {
        ("a.jsonl", 0): ("ok", None, ("short",)),
        ("a.jsonl", 1): ("ok", None, ("long",)),
        ("a.jsonl", 2): ("ok", None, ("short",)),
        ("a.jsonl", 3): ("filtered", "duplicate", ()),
        ("a.jsonl", 4): ("quarantined", "decode", ()),
        ("a.jsonl", 5): ("quarantined", "source_unavailable", ()),
        ("a.jsonl", 6): ("quarantined", "source_unavailable", ()),
        ("a.jsonl", 7): ("filtered", "policy", ()),
        ("a.jsonl", 8): ("quarantined", "parse", ()),
        ("a.jsonl", 9): ("quarantined", "parse", ()),
        ("b.parquet", 0): ("ok", None, ("short",)),
    }
    assert str(folder) not in "".join(f"{row.reason}{row.detail}" for row in rows(made))
    assert verify(made) == []


def test_fine_tuning_reads_them(made: Artifact, tmp_path: Path) -> None:
    config = ModelConfig(**yaml.safe_load((REPO / "conf" / "model" / "tiny.yaml").read_text()))
    processor = Processor(config, build_byte_tokenizer(tmp_path))
    said = {}
    for ref in ShardIndex.from_artifacts([made]).refs:
        encoded = encode_item(Item(ref, package=6 if ref.frames else 0), processor)
        supervised = [int(token) for token in encoded.labels if token >= 0]
        said[ref.key] = processor.decode(supervised), len(encoded.packages), ref.frames
        parts = decode_parts(read_sample(ref))
        assert ref.views == sum(name.endswith("jpg") for name in parts)
    by_answer = {text: rest for text, *rest in said.values()}
    assert by_answer.pop("Red.") == [1, 0]
    assert by_answer.pop("Blue.") == [1, 0]
    assert by_answer.pop("Four.") == [0, 0]
    ((thought, (packages, frames)),) = by_answer.items()
    assert thought == "<think>\nI look.\n</think>\n\nA word."
    assert (packages, frames) == (1, 6)


def test_a_second_run_gives_the_same_bytes_also_after_a_kill(made: Artifact, folder: Path, tmp_path: Path) -> None:
    """kill -9 of the process between two units: the next run adopts what was finished and ends in the same bytes."""
    config = ConversationShards(source=str(folder), **CONFIG)
    child = os.fork()
    if child == 0:
        original, count = conversations.write_unit, iter(range(9))

        def dying(*arguments: Any, **options: Any) -> Any:
            if next(count) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        conversations.write_unit = dying  # type: ignore[assignment]
        run_stage_inprocess(build_conversation_shards, config, {}, tmp_path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    left = sorted(path.name for path in tmp_path.rglob("units/*.json"))
    assert len(left) == 2
    again = run_stage_inprocess(build_conversation_shards, config, {}, tmp_path)
    assert (again.key, again.content_digest) == (made.key, made.content_digest)


def test_rows_about_one_picture_share_their_split(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "many"
    place.mkdir()
    (place / "red.png").write_bytes((folder / "media" / "red.png").read_bytes())
    lines = [chat(f"<image>{n}?", f"{n}.", image="red.png") for n in range(40)] + [
        chat(f"{n}?", "A") for n in range(40)
    ]
    (place / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    artifact = run_stage_inprocess(build_conversation_shards, ConversationShards(source=str(place)), {}, tmp_path / "s")
    splits = [row.split for row in rows(artifact)]
    assert len(set(splits[:40])) == 1
    assert len(set(splits[40:])) > 1


def test_interleaved_documents_become_samples(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "docs"
    place.mkdir()
    (place / "red.png").write_bytes((folder / "media" / "red.png").read_bytes())
    lines = [{"texts": ["A.", None, "B."], "images": [None, "red.png", None]}, {"texts": ["only"], "images": [None]}]
    (place / "a.json").write_text(json.dumps(lines))
    artifact = run_stage_inprocess(build_interleaved_shards, InterleavedShards(source=str(place)), {}, tmp_path / "s")
    assert [(row.status, row.category) for row in rows(artifact)] == [("ok", None), ("quarantined", "parse")]
    (ref,) = ShardIndex.from_artifacts([artifact]).refs
    assert (ref.kind, ref.tags, ref.views) == ("interleaved", ("none",), 1)
    assert json.loads(read_sample(ref)["json"])["messages"][1] == {"role": "assistant", "content": "B."}


def test_a_missing_source_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.conversations="):
        run_stage_inprocess(build_conversation_shards, ConversationShards(), {}, tmp_path)
