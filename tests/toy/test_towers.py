"""What the tiny towers are pretrained on and with: glyph sheets, blends of tokens, the loop of all training, the bridge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stage_runs import run_stage_inprocess

from model.config import LanguageConfig, ModelConfig, SliceConfig, VisionConfig
from model.pack import IGNORE, Encoded
from model.training.engine import TorchEngine
from model.vision import VisionTower
from pipelines.workflow.attempt import Attempt
from toy.towers.language import NOTHING, CardPack, CardReader, Example, answers_right, blend, card_pack
from toy.towers.reading import fit_bridge, nearest_token_share
from toy.towers.stage import (
    Backbone,
    Bridge,
    LanguageBackbone,
    VisionBackbone,
    fit_tower_bridge,
    train_language_backbone,
    train_vision_backbone,
)
from toy.towers.training import learn
from toy.towers.vision import GlyphReader, glyph_loss, sheet_pack

SIZE = ModelConfig(
    language=LanguageConfig(
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=48,
        vocab_size=288,
        max_position_embeddings=512,
        bos_token_id=256,
        eos_token_id=258,
    ),
    vision=VisionConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=448
    ),
    slicing=SliceConfig(scale_resolution=160, max_slice_nums=1),
    query_num=2,
    use_image_id=False,
    max_packages=8,
)


def reader() -> CardReader:
    torch.manual_seed(0)
    return CardReader(SIZE)


def copying(rng: np.random.Generator) -> Example:
    """A picture of two cells, three letters in them, then the letters spelled out."""
    a, b, c = (int(n) for n in rng.integers(4, 12, 3))
    ids = torch.tensor([1, 0, 0, 3, a, b, c])
    labels = torch.where(torch.arange(7) > 3, ids, IGNORE)
    picture = {"patches": torch.zeros(1, 588), "tgt_sizes": torch.tensor([[1, 1]]), "packages": ((-1,),)}
    cells = np.array([[a, b, NOTHING], [c, NOTHING, NOTHING]])
    return Encoded(ids, labels, **picture, image_bound=torch.tensor([[1, 3]])), cells


def copies(seed: int, count: int, noisy: bool = True) -> CardPack:
    rng = np.random.default_rng([9, seed])
    return card_pack([copying(rng) for _ in range(count)], 128, rng if noisy else None)


def test_a_blend_weighs_the_earlier_token_more() -> None:
    table = torch.eye(4)
    got = blend(table, torch.tensor([[2, NOTHING, NOTHING], [1, 3, NOTHING], [0, 1, 2], [NOTHING] * 3]))
    want = torch.tensor([[0, 0, 1, 0], [0, 0.65, 0, 0.35], [0.5, 0.3, 0.2, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(got, want)


def test_neighbours_do_not_touch_what_is_supervised_and_noise_does() -> None:
    llm = reader().eval()
    one, other = copying(np.random.default_rng(0)), copying(np.random.default_rng(1))
    alone = llm(card_pack([one], 128)).logprobs()
    beside = llm(card_pack([one, other], 128)).logprobs()
    torch.testing.assert_close(beside[:3], alone, rtol=0, atol=1e-5)
    noisy = card_pack([one] * 8, 128, np.random.default_rng(1))
    assert not torch.allclose(llm(noisy).logprobs()[:3], alone, atol=1e-4)
    assert 0 < (noisy.noise.abs().sum(1) == 0).float().mean() < 1, "some examples get none"


def test_the_decoder_learns_to_spell_out_shared_cells(tmp_path: Path) -> None:
    """Three of eight letters: chance is an eighth a token; order within a cell has to come from the blend's weights."""
    model = reader()
    held = [copies(999, 200, noisy=False)]
    before = answers_right(TorchEngine(model, ("language",)), held)
    out = Attempt(tmp_path, tmp_path)
    engine = learn(
        model, "language", lambda step: copies(step, 32), Backbone(model=SIZE, steps=250, batch=32, lr=5e-3), out
    )
    tokens, whole = answers_right(engine, held)
    assert before[0] < 0.3
    assert tokens > 0.9
    assert whole > 0.75
    assert out.events.path.read_text().count("train/loss") == 5
    assert not (tmp_path / "checkpoints").exists()


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
    model = reader().eval()
    batch = copies(0, 1)
    exact, rounded = (
        TorchEngine(model, ("language",), precision=precision).forward(batch).logprobs()
        for precision in ("fp32", "bf16")
    )
    torch.testing.assert_close(rounded, exact, rtol=0, atol=5e-2)
    assert not torch.equal(rounded, exact)


def test_the_tower_learns_glyphs_where_they_stand(tmp_path: Path) -> None:
    held = [sheet_pack(SIZE.vision, "train", 0, 999, 8, clean=True)]
    model = GlyphReader(SIZE.vision, 0)

    def loss() -> float:
        return float(glyph_loss(TorchEngine(model, ("vision",)).forward(held[0]), 1))

    before = loss()
    draw = lambda step: sheet_pack(SIZE.vision, "train", 0, step, 8)  # noqa: E731
    learn(
        model, "vision", draw, Backbone(model=SIZE, steps=60, batch=8, lr=3e-3), Attempt(tmp_path, tmp_path), glyph_loss
    )
    assert loss() < 0.6 * before
    again, other = (sheet_pack(SIZE.vision, "train", 0, number, 8) for number in (3, 4))
    assert again.patches.equal(sheet_pack(SIZE.vision, "train", 0, 3, 8).patches)
    assert not again.patches.equal(other.patches)


def test_towers_and_bridge_are_made_one_from_the_other(tmp_path: Path) -> None:
    """The recipe ``backbones`` in small: what comes out fits the model, and training goes on from a decoder."""
    short = {"model": SIZE.model_copy(update={"query_num": 64}), "steps": 2, "batch": 4}
    vision = run_stage_inprocess(train_vision_backbone, VisionBackbone(**short, test_packs=1), {}, tmp_path)
    letters = run_stage_inprocess(train_language_backbone, LanguageBackbone(**short, test_cards=3), {}, tmp_path)
    more = LanguageBackbone(**short, test_cards=3, seed=1)
    language = run_stage_inprocess(train_language_backbone, more, {"start": letters}, tmp_path)
    bridge = run_stage_inprocess(
        fit_tower_bridge, Bridge(vision=SIZE.vision, packs=2, test_packs=1),
        {"vision": vision, "language": language}, tmp_path,
    )  # fmt: skip
    tower, first, second = (load_file(made.path(name)) for made, name in (
        (vision, "vision.safetensors"), (letters, "language.safetensors"), (language, "language.safetensors")
    ))  # fmt: skip
    assert tower.keys() == {f"vpm.{name}" for name in VisionTower(SIZE.vision).state_dict()}
    near = first["llm.lm_head.weight"].float() - second["llm.lm_head.weight"].float()
    assert 0 < near.abs().max() < 0.02, "two steps from where it started"
    assert load_file(bridge.path("bridge.safetensors"))["bridge"].shape == (32, 128)
    assert "checkpoints" not in {name.split("/")[0] for name in vision.names}
