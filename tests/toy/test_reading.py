"""The resampler's first weights in the tiny recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stage_runs import run_stage_inprocess

from cookhouse.project import load_project
from model.resampler import Resampler, init_resampler, position_terms
from model.training.job import ModelSource
from toy.towers.reading import grid_of, start_on_grid
from toy.towers.stage import make_reading_start

EXPECTED = {
    "attn.in_proj_bias": (0.0, 0.0),
    "attn.in_proj_weight": (0.006574, 0.199466),
    "attn.out_proj.bias": (0.0, 0.0),
    "attn.out_proj.weight": (0.003906, 0.0625),
    "kv_proj.weight": (-0.011031, 0.246986),
    "ln_kv.bias": (0.0, 0.0),
    "ln_kv.weight": (0.8875, 0.936082),
    "ln_post.bias": (0.0, 0.0),
    "ln_post.weight": (1.0, 1.0),
    "ln_q.bias": (0.0, 0.0),
    "ln_q.weight": (1.0, 1.0),
    "proj": (0.000149, 0.002392),
    "query": (0.0, 1.0),
}
"""Mean and root mean square of each tensor the shipped recipe has started from since its towers were made (seed 0)."""


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return {step.name: step.config for step in load_project(["recipe=tiny"]).steps}


@pytest.fixture(scope="module")
def start(recipe: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = run_stage_inprocess(make_reading_start, recipe["reading"], {}, tmp_path_factory.mktemp("store"))
    return made.path("start.safetensors")


def test_the_recipe_starts_from_the_weights_it_always_started_from(start: Path) -> None:
    found = {name.removeprefix("resampler."): tensor for name, tensor in load_file(start).items()}
    assert found.keys() == EXPECTED.keys()
    for name, (mean, size) in EXPECTED.items():
        assert float(found[name].mean()) == pytest.approx(mean, abs=2e-6), name
        assert float(found[name].square().mean().sqrt()) == pytest.approx(size, abs=2e-6), name


def test_pretraining_starts_from_towers_and_this(recipe: dict[str, Any], start: Path, tmp_path: Path) -> None:
    config = recipe["pretrain"]
    towers = {name: getattr(config, name).locate() for name in ("vision", "language")}
    fresh, begun = (
        ModelSource(config=config.model, **towers, start=file).model(config.model, 0).state_dict()
        for file in (None, start)
    )
    given = load_file(start)
    assert all(begun[name].equal(tensor) for name, tensor in given.items())
    assert all(begun[name].equal(tensor) for name, tensor in fresh.items() if name not in given)
    assert not fresh["resampler.query"].equal(given["resampler.query"])


def test_grid_is_as_square_as_it_gets():
    assert grid_of(64, 8, 16) == (4, 16)
    assert grid_of(64, 32, 32) == (8, 8)
    assert grid_of(4, 2, 4) == (1, 4)


@pytest.mark.parametrize("seed", range(3))
def test_grid_start_attends_to_its_own_cell(seed):
    """width 256, 64 queries = 4x16 cells of 2x1 patches over a card of 8x16 patches."""
    module = Resampler(64, 256, 192)
    generator = torch.Generator().manual_seed(seed)
    init_resampler(module, generator)
    start_on_grid(module, generator, 8, 16)
    with torch.no_grad():
        keys = module.ln_kv(module.kv_proj(torch.randn(128, 192, generator=generator))) + position_terms([(8, 16)], 256)
        w_q, w_k, _ = module.attn.in_proj_weight.split(256)
        q = (module.ln_q(module.query) @ w_q.T).view(64, 2, 128).transpose(0, 1)
        k = (keys @ w_k.T).view(128, 2, 128).transpose(0, 1)
        mass = (q @ k.transpose(1, 2) / 128**0.5).softmax(-1).view(2, 4, 16, 8, 16)
    own = torch.stack([mass[:, r, c, 2 * r : 2 * r + 2, c].sum(-1) for r in range(4) for c in range(16)])
    assert own.mean() > 0.75
    assert (own > 0.5).float().mean() > 0.95  # of 128 head-query pairs
