"""Small shards of drawn cards and the weights of a model that never learned anything."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from stage_runs import plain_folder

from pipelines.shards.manifest import Row
from pipelines.shards.sample import image_content, sample_json, text_content, turn
from pipelines.shards.unit import write_unit
from pipelines.workflow.artifact import Artifact

LEVELS = ("low", "moderate", "high")


def picture(lines: list[str]) -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (112, 56), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((4, 4 + 14 * number), line, fill="black")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def card(index: int, split: str = "test", family: str = "card") -> tuple[Row, dict[str, bytes]]:
    lines = [f"word{index}", f"{index} more"][: 1 + index % 2]
    regions = [
        {"index": n, "bbox": [0, 0, 9, 9], "text": line, "level": LEVELS[(index + n) % 3], "operators": []}
        for n, line in enumerate(lines, 1)
    ]
    messages = turn(
        [image_content(), text_content("Read.")], "\n".join(f"{n}: {line}" for n, line in enumerate(lines, 1))
    )
    meta = {
        "source": "a.pdf",
        "source_digest": f"{index:064d}",
        "page": 0,
        "view": 0,
        "family": family,
        "regions": regions,
    }
    row = _row(f"card-{index}", split, "document", index)
    return row, {"jpg": picture(lines), "json": sample_json("document", split, "none", messages, meta)}


def question(index: int, mode: str, split: str = "test") -> tuple[Row, dict[str, bytes]]:
    meta = {"question_kind": "add", "answer": str(2 * index), "verifier": "number", "family": "card"}
    thought = f"{index} + {index} = {2 * index}" if mode == "long" else None
    messages = turn([image_content(), text_content("What is the sum?")], str(2 * index), thought)
    row = _row(f"q-{index}-{mode}", split, "question", index)
    return row, {"jpg": picture([f"{index} + {index}"]), "json": sample_json("question", split, mode, messages, meta)}


def shards(directory: Path, step: str, samples: list[tuple[Row, dict[str, bytes]]]) -> Artifact:
    write_unit(directory / step, "part", samples)
    return plain_folder(directory / step, step)


def _row(key: str, split: str, kind: str, index: int) -> Row:
    return Row(
        key=key, status="ok", stage="t", source="a.pdf", source_digest=f"{index:064d}", split=split, kind=kind, views=1
    )


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Artifacts for the stage: 10 test cards among others, 5 questions in two modes, ``sft`` and two RL seeds."""
    import torch

    from model.checkpoint import save_model
    from model.config import LanguageConfig, ModelConfig, SliceConfig, VisionConfig
    from model.minicpmv import MiniCPMV
    from model.processor import Processor
    from model.tokenizer import build_byte_tokenizer

    home = tmp_path_factory.mktemp("kitchen")
    cards = [card(i) for i in range(10)] + [card(i, family="page") for i in range(10, 12)] + [card(20, "train")]
    asked = [question(i, mode) for i in range(5) for mode in ("short", "long")] + [question(9, "short", "train")]
    tokenizer = build_byte_tokenizer(home / "tokenizer")
    config = ModelConfig(
        language=LanguageConfig(
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=64,
            intermediate_size=128,
            vocab_size=len(tokenizer),
            max_position_embeddings=512,
        ),
        vision=VisionConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=112
        ),
        slicing=SliceConfig(scale_resolution=56, max_slice_nums=1),
        query_num=4,
    )
    for seed, name in enumerate(("sft", "rl/seed-0", "rl/seed-1")):
        torch.manual_seed(seed)
        save_model(home / name / "model", MiniCPMV(config), Processor(config, tokenizer))
    return {
        "documents": shards(home, "documents", cards),
        "questions": shards(home, "questions", asked),
        "models": (plain_folder(home / "sft", "sft"), plain_folder(home / "rl", "rl")),
    }
