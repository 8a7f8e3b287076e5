"""A model of a few thousand parameters, synthetic packs and a job: real gradients in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from model.config import ModelConfig
from model.minicpmv import MiniCPMV
from model.pack import Encoded, Pack, pack
from model.resampler import init_resampler
from model.training.config import TrainConfig
from model.training.job import Job, ModelSource
from model.training.phases import Phase, Schedule

CONFIG = ModelConfig(
    language={
        "hidden_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "intermediate_size": 64,
        "vocab_size": 288,
        "bos_token_id": 256,
        "eos_token_id": 258,
    },
    vision={
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "image_size": 56,
    },
    slicing={"scale_resolution": 28, "max_slice_nums": 1},
    query_num=4,
    use_image_id=False,
)


def tiny_model(seed: int = 0) -> MiniCPMV:
    torch.manual_seed(seed)
    model = MiniCPMV(CONFIG)
    init_resampler(model.resampler, torch.Generator().manual_seed(seed))
    return model


def sample(seed: int, text: int = 9, supervised: int = 5, picture: bool = True) -> Encoded:
    """Random ids; with a picture of 2x2 patches behind a 4-token placeholder."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 250, (text + (4 if picture else 0),), generator=draw)
    labels = torch.full_like(ids, -100)
    labels[len(ids) - supervised :] = ids[len(ids) - supervised :]
    if not picture:
        return Encoded(ids, labels)
    patches = torch.randn(4, 3 * 14 * 14, generator=draw)
    return Encoded(ids, labels, patches, torch.tensor([[2, 2]]), ((-1,),), torch.tensor([[1, 5]]))


def packs(groups: list[list[int]], text_only: tuple[int, ...] = ()) -> list[Pack]:
    """One pack per group of sample seeds; seeds in ``text_only`` have no picture. Lengths vary with the seed."""
    return [
        pack([sample(seed, 8 + seed % 5, 2 + seed % 4, seed not in text_only) for seed in group]) for group in groups
    ]


PHASES = (
    Phase(
        name="align",
        trains=("resampler",),
        steps=4,
        schedule=Schedule(lr=1e-3, final_lr=1e-4),
        weights={"cards": 2, "prose": 1},
        tokens_per_pack=160,
        packs_per_step=2,
    ),
    Phase(
        name="all",
        trains=("resampler", "vision", "language"),
        steps=6,
        schedule=Schedule(kind="cosine", lr=1e-3),
        weights={"cards": 1, "clips": 1, "asks": 1},
        tokens_per_pack=300,
        packs_per_step=2,
        modes=("none", "short", "long"),
        package=(1, 6),
        stride=(1, 2),
    ),
)


def make_job(samples: dict[str, tuple], folder: Path, **changes: Any) -> Job:
    """Two phases in one plain process that logs every step, in ``folder``."""
    (folder / "attempt").mkdir()
    config = TrainConfig(phases=PHASES, seed=3, world_size=1, zero_stage=None, log_every=1, checkpoint_every=2)
    source, places = ModelSource(config=CONFIG), {"folder": folder / "attempt", "scratch": folder / "scratch"}
    job = Job(config, source, samples, **places, fingerprint="test", events=folder / "events.jsonl")
    return changed(job, **changes)


def changed(job: Job, **changes: Any) -> Job:
    """The job with other places, or with another configuration by the names of its fields."""
    own = {name: changes.pop(name) for name in [*changes] if name in TrainConfig.model_fields}
    return replace(job, config=job.config.model_copy(update=own), **changes)
