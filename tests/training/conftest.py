"""A small folder of real shards (cards, videos, text, questions in both modes, one broken picture) and a job on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parent))  # tiny.py, shared with the gang script

import tiny

from model.training.job import Job
from pipelines.shards.index import Folder, ShardIndex
from pipelines.shards.manifest import Row
from pipelines.shards.sample import (
    encode_jpeg,
    image_content,
    sample_json,
    text_content,
    text_size,
    turn,
    video_content,
)
from pipelines.shards.unit import write_unit

WORDS = ("oat", "rye", "fig", "yam", "pea", "leek", "bean", "corn")


def _picture(text: str) -> bytes:
    image = Image.new("RGB", (40, 24), "white")
    ImageDraw.Draw(image).text((2, 6), text, fill="black")
    return encode_jpeg(image)


def _row(
    key: str, kind: str, messages: list, split: str, tags: tuple[str, ...] = (), frames: int = 0, views: int = 1
) -> Row:
    return Row(
        key=key,
        status="ok",
        stage="test",
        source=f"{key}.src",
        source_digest=key,
        split=split,
        kind=kind,
        views=views,
        frames=frames,
        width=40 if views else 0,
        height=24 if views else 0,
        text_bytes=text_size(messages),
        tags=tags,
    )


def _items(kind: str, count: int):
    for n in range(count):
        word = WORDS[n % len(WORDS)] + str(n)
        split = "test" if n % 8 == 7 else "train"
        key = f"{kind}-{n:03d}"
        if kind == "document":
            messages = turn([image_content(), text_content("Read.")], word)
            parts = {"jpg": _picture(word) if n != 3 else b"not a picture"}
            yield _row(key, kind, messages, split), {**parts, "json": sample_json(kind, split, "none", messages, {})}
        elif kind == "video":
            messages = turn([video_content([0, 5, 10, 15, 20, 25]), text_content("What happens?")], word)
            parts = {f"f{f:04d}.jpg": _picture(f"{word}{f}") for f in range(6)}
            yield (
                _row(key, kind, messages, split, frames=6, views=6),
                {**parts, "json": sample_json(kind, split, "none", messages, {})},
            )
        elif kind == "text":
            messages = turn([text_content("Go on.")], f"{word} is a plant")
            yield (
                _row(key, kind, messages, split, views=0),
                {"json": sample_json(kind, split, "none", messages, {})},
            )
        else:
            for mode in ("short", "long"):
                messages = turn([image_content(), text_content("Which?")], word, "I look." if mode == "long" else None)
                yield (
                    _row(f"{key}-{mode}", kind, messages, split, tags=(mode, "read")),
                    {"jpg": _picture(word), "json": sample_json(kind, split, mode, messages, {})},
                )


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    """Dataset name -> a folder with shards."""
    root = tmp_path_factory.mktemp("shards")
    made = {}
    for name, kind, count in (
        ("cards", "document", 24),
        ("clips", "video", 8),
        ("prose", "text", 16),
        ("asks", "question", 16),
    ):
        write_unit(root / name, "train-000000", _items(kind, count))
        made[name] = Folder(root / name, name)
    return made


@pytest.fixture(scope="session")
def samples(folders: dict[str, Folder]) -> dict[str, tuple]:
    """Dataset name -> its train samples."""
    index = ShardIndex.from_artifacts(folders.values())
    return {name: tuple(index.select(split="train", dataset=name)) for name in folders}


@pytest.fixture
def job(samples: dict[str, tuple], tmp_path: Path) -> Job:
    """Two phases on the tiny model in one plain process; change it with ``dataclasses.replace``."""
    return tiny.make_job(samples, tmp_path)
