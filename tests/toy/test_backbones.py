"""What the tiny towers are pretrained on and with: blends of tokens, batches, the decoder's loop, the bridge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import Qwen3ForCausalLM

from model.config import LanguageConfig
from model.minicpmv import language_config
from toy.towers.bridge import fit_bridge, nearest_token_share
from toy.towers.language import (
    IGNORED,
    NOTHING,
    LanguagePlan,
    answers_right,
    batches,
    blend,
    collate,
    token_losses,
    train_language,
)

SIZE = LanguageConfig(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    intermediate_size=48,
    vocab_size=24,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
)


def copying(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Three letters, two of them in one cell, then the letters spelled out."""
    a, b, c = (int(n) for n in rng.integers(4, 12, 3))
    ids = np.full((7, 3), NOTHING)
    ids[:, 0] = [1, a, c, 3, a, b, c]
    ids[1, 1] = b
    return ids, np.array([IGNORED] * 4 + [a, b, c])


def test_a_blend_weighs_the_earlier_token_more() -> None:
    table = torch.eye(4)
    got = blend(table, torch.tensor([[2, NOTHING, NOTHING], [1, 3, NOTHING], [0, 1, 2], [NOTHING] * 3]))
    want = torch.tensor([[0, 0, 1, 0], [0, 0.65, 0, 0.35], [0.5, 0.3, 0.2, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(got, want)


def test_padding_and_noise_do_not_touch_what_is_supervised() -> None:
    torch.manual_seed(0)
    llm = Qwen3ForCausalLM(language_config(SIZE)).eval()
    short = (np.array([[1, NOTHING, NOTHING], [5, NOTHING, NOTHING]]), np.array([IGNORED, 5]))
    long = copying(np.random.default_rng(0))
    alone, _ = token_losses(llm, collate([short], [0.0]), torch.Generator())
    beside, _ = token_losses(llm, collate([short, long], [0.0, 0.0]), torch.Generator())
    torch.testing.assert_close(beside[:1], alone, rtol=0, atol=1e-5)
    noisy, _ = token_losses(llm, collate([short], [1.0]), torch.Generator().manual_seed(1))
    assert not torch.allclose(noisy, alone, atol=1e-4)


def test_batches_are_a_function_of_the_seed_and_group_equal_lengths() -> None:
    def varied(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        ids = np.full((int(rng.integers(2, 40)), 3), NOTHING)
        ids[:, 0] = 5
        return ids, ids[:, 0].copy()

    plan = LanguagePlan(steps=1, batch=8, seed=3)
    first, again = batches(varied, plan), batches(varied, plan)
    assert torch.equal(first(2).ids, again(2).ids)
    assert torch.equal(first(2).noise, again(2).noise)
    padding = [float((first(step).labels == IGNORED).float().mean()) for step in range(16)]
    assert np.mean(padding) < 0.1


def test_the_decoder_learns_to_spell_out_shared_cells() -> None:
    """Three of eight letters: chance is an eighth a token; order within a cell has to come from the blend's weights."""
    torch.manual_seed(0)
    llm = Qwen3ForCausalLM(language_config(SIZE))
    held = [copying(np.random.default_rng([9, n])) for n in range(200)]
    before = answers_right(llm, held)
    reports: dict[int, float] = {}
    plan = LanguagePlan(steps=250, batch=32, lr=5e-3, warmup=20, noise=0.2)
    train_language(llm, plan, copying, lambda step, values: reports.update({step: values["train/loss"]}))
    tokens, whole = answers_right(llm, held)
    assert list(reports) == [0, 50, 100, 150, 200, 249]
    assert before[0] < 0.3
    assert tokens > 0.9
    assert whole > 0.75


def test_the_bridge_is_the_least_squares_map_and_reads_unseen_patches() -> None:
    rng = torch.Generator().manual_seed(0)
    table, mixing = torch.randn(10, 8, generator=rng), torch.randn(8, 16, generator=rng)

    def sheets(count: int):
        for _ in range(count):
            tokens = torch.full((50, 3), NOTHING)
            tokens[:, 0] = torch.randint(0, 10, (50,), generator=rng)
            both = torch.rand(50, generator=rng) < 0.3
            tokens[both, 1] = torch.randint(1, 10, (int(both.sum()),), generator=rng)
            yield blend(table, tokens) @ mixing + 0.01 * torch.randn(50, 16, generator=rng), tokens

    bridge = fit_bridge(sheets(20), table, blank=0, ridge=1e-6)
    torch.testing.assert_close(mixing @ bridge, torch.eye(8), rtol=0, atol=0.02)
    features, tokens = next(sheets(1))
    assert nearest_token_share(bridge, features, tokens, table, blank=0) > 0.9
    with pytest.raises(ValueError, match="no sheets"):
        fit_bridge([], table, blank=0, ridge=1e-6)


def test_precision_changes_the_products_and_nothing_else() -> None:
    torch.manual_seed(0)
    llm = Qwen3ForCausalLM(language_config(SIZE)).eval()
    batch = collate([copying(np.random.default_rng(0))], [0.0])
    exact, rounded = (token_losses(llm, batch, torch.Generator(), precision)[0] for precision in ("fp32", "bf16"))
    torch.testing.assert_close(rounded, exact, rtol=0, atol=2e-2)
    assert not torch.equal(rounded, exact)
