"""A policy small enough to learn in seconds: two layers, no pictures, taught digits with labels that are wrong half of
the time.

The noise gives an exact starting point (about half of the samples right) and a known ceiling (all right).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.checkpoint import save_model
from model.config import LanguageConfig, ModelConfig, SliceConfig, VisionConfig
from model.minicpmv import MiniCPMV
from model.pack import pack
from model.processor import Processor
from model.tokenizer import build_byte_tokenizer
from model.training.engine import TorchEngine
from model.training.phases import Optimizer
from rl.records import Question

WARM_STEPS = 90


def answer_of(digit: int) -> str:
    return str((digit + 3) % 10)


def ask(digit: int) -> tuple[dict, ...]:
    return ({"role": "user", "content": [{"type": "text", "text": str(digit)}]},)


def build_network(tokenizer_dir: Path, width: int = 128) -> tuple[MiniCPMV, Processor]:
    tokenizer = build_byte_tokenizer(tokenizer_dir)
    config = ModelConfig(
        language=LanguageConfig(
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=64,
            intermediate_size=192,
            vocab_size=len(tokenizer),
        ),
        vision=VisionConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=112
        ),
        slicing=SliceConfig(scale_resolution=56, max_slice_nums=1),
        query_num=4,
    )
    network = MiniCPMV(config)
    for name, parameter in network.named_parameters():
        if name.startswith("llm.") and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.06)  # larger than usual: a network this narrow learns far sooner
    return network, Processor(config, tokenizer)


@pytest.fixture(scope="session")
def tiny_network() -> Callable[[Path], tuple[MiniCPMV, Processor]]:
    return build_network


@pytest.fixture(scope="session")
def questions() -> list[Question]:
    return [
        Question(f"{mode}-{d}", "add", mode, answer_of(d), "number", ask(d))
        for mode in ("short", "long")
        for d in range(10)
    ]


@pytest.fixture(scope="session")
def noisy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``model/`` folder of a policy that answers ``(d + 3) % 10`` in both modes, with label noise of one half."""
    folder = tmp_path_factory.mktemp("noisy")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network, processor = build_network(folder / "tokenizer")
    engine = TorchEngine(network, ("language",), Optimizer(weight_decay=0.0))
    draw = random.Random(0)
    for step in range(WARM_STEPS):
        samples = []
        for index in range(24):
            digit = draw.randrange(10)
            said = answer_of(digit) if draw.random() < 0.5 else str(draw.randrange(10))
            turn = {"role": "assistant", "content": said} | ({"thought": "so"} if index % 2 else {})
            samples.append(processor.encode([*ask(digit), turn], {}, "long" if index % 2 else "short"))
        packed = pack(samples)
        engine.set_lr(5e-3 * min(1.0, (step + 1) / 10) * (1 - step / WARM_STEPS))
        engine.backward(lambda supervised: -supervised.logprobs().mean(), packed)
        engine.step()
    save_model(folder / "model", network, processor)
    return folder / "model"
