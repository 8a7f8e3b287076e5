"""Stage ``tokenizer``: from shards to a vocabulary, and a model that starts with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from stage_runs import plain_folder

from cookhouse.stages.tokenizer import TrainTokenizer, texts_of, train_tokenizer
from cookhouse.stages.training import Pretrain, pretrain
from model.checkpoint import load_model
from pipelines.core.errors import DataError
from pipelines.shards.read import read_json
from pipelines.workflow.stage import Artifact, Attempt, Inputs

PLAIN = {"world_size": 1, "zero_stage": None, "launcher": "local", "precision": "fp32", "max_skipped_share": 0.5}


@pytest.fixture
def shards(folders) -> tuple[Artifact, ...]:
    return tuple(plain_folder(folder.root, name) for name, folder in folders.items())


def learn(shards, folder: Path, **options) -> tuple[Artifact, dict]:
    folder.mkdir()
    stats = train_tokenizer(TrainTokenizer(**options), Inputs({"shards": shards}), Attempt(folder, folder))
    return plain_folder(folder, folder.name), stats


def test_the_same_shards_give_the_same_bytes(shards, tmp_path: Path) -> None:
    made = [learn(shards, tmp_path / name, merges=40)[0] for name in ("one", "two")]
    assert made[0].path("tokenizer.json").read_bytes() == made[1].path("tokenizer.json").read_bytes()


def test_held_out_texts_are_not_read(shards, samples, tmp_path: Path) -> None:
    _, stats = learn(shards, tmp_path / "one", merges=40)
    assert stats["merges"] == stats["vocab_size"] - 288 == 40
    assert stats["samples"] >= sum(map(len, samples.values()))
    everything = sum(
        len(text.encode()) for rows in samples.values() for ref in rows for text in texts_of(read_json(ref))
    )
    assert stats["read_bytes"] == everything
    _, cut = learn(shards, tmp_path / "two", merges=40, max_bytes=400)
    assert 0 < cut["read_bytes"] < everything


def test_a_model_starts_with_it(shards, tmp_path: Path) -> None:
    learned, stats = learn(shards, tmp_path / "one", merges=20)
    language = tiny.CONFIG.language.model_copy(update={"vocab_size": stats["vocab_size"]})
    config = Pretrain(model=tiny.CONFIG.model_copy(update={"language": language}), phases=tiny.PHASES[:1], **PLAIN)
    (tmp_path / "two").mkdir()
    out = Attempt(tmp_path / "two", tmp_path / "two")
    pretrain(config, Inputs({"shards": shards, "tokenizer": (learned,)}), out)
    _, processor = load_model(out.dir / "model")
    assert len(processor.tokenizer) == stats["vocab_size"] > 288


def test_shards_without_texts_are_an_error(tmp_path: Path, shards) -> None:
    with pytest.raises(DataError, match="no text"):
        learn(shards[:1], tmp_path / "one", max_bytes=1)


def test_texts_of_a_sample() -> None:
    messages = [
        {"role": "user", "content": [{"type": "image", "part": "jpg"}, {"type": "text", "text": "Q"}]},
        {"role": "assistant", "content": "A", "thought": "T"},
    ]
    assert list(texts_of({"messages": messages})) == ["Q", "A", "T"]
