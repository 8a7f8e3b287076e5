"""The recipe's beginning from published towers: real SigLIP and Qwen3 classes of transformers write the folders."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen3ForCausalLM, SiglipConfig, SiglipModel

from model.checkpoint import init_from_parts
from model.minicpmv import language_config
from model.starting import language_state, resized_positions, resized_rows, tower_state
from pipelines.core.errors import DataError


@pytest.fixture
def config(small_config):
    vision = small_config.vision.model_copy(update={"image_size": 112})
    return small_config.model_copy(update={"vision": vision})


@pytest.fixture
def siglip(config, tmp_path):
    torch.manual_seed(0)
    vision = config.vision.model_dump()
    text = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 50,
    }
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).eval()
    model.save_pretrained(tmp_path / "siglip")
    return model


@pytest.fixture
def qwen(config, tmp_path):
    torch.manual_seed(1)
    model = Qwen3ForCausalLM(language_config(config.language)).eval()
    model.save_pretrained(tmp_path / "qwen", max_shard_size="300KB")
    return model


def test_both_towers_give_what_their_own_classes_give(config, siglip, qwen, tmp_path):
    """8x8 patches are the table's own grid, so positions are equal, and every layer must be."""
    assert len(list((tmp_path / "qwen").glob("*.safetensors"))) > 1
    model = init_from_parts(config, tmp_path / "siglip", tmp_path / "qwen").eval()
    pixels = torch.randn(1, 3, 112, 112)
    patches = pixels.unfold(2, 14, 14).unfold(3, 14, 14).permute(0, 2, 3, 1, 4, 5).reshape(64, 588)
    ids = torch.randint(0, 288, (1, 20))
    with torch.no_grad():
        expected = siglip.vision_model(pixels).last_hidden_state[0]
        torch.testing.assert_close(model.vpm(patches, torch.tensor([[8, 8]])), expected, atol=1e-5, rtol=0)
        qwen.set_attn_implementation("sdpa")
        torch.testing.assert_close(model.llm(ids).logits, qwen(ids).logits, atol=1e-5, rtol=0)


def test_flat_patch_weights_and_pickled_folders(config, siglip, tmp_path):
    """NaFlex towers store the projection as rows of (row, column, channel); old repositories a pickle."""
    state = dict(siglip.state_dict())
    name = next(name for name in state if name.endswith("patch_embedding.weight"))
    flat = state[name].permute(0, 2, 3, 1).flatten(1)
    (tmp_path / "old").mkdir()
    torch.save({**state, name: flat}, tmp_path / "old" / "pytorch_model.bin")
    got = tower_state(tmp_path / "old", config.vision)
    expected = tower_state(tmp_path / "siglip", config.vision)
    assert got.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in got.items())


class Intruder:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_that_would_run_code_is_refused(config, tmp_path, capsys):
    torch.save({"x": Intruder()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="cannot be read"):
        tower_state(tmp_path, config.vision)
    assert "code ran" not in capsys.readouterr().out


def test_vocabularies_are_cut_and_filled(config, qwen, tmp_path):
    rows = load_file(next((tmp_path / "qwen").glob("model-00001*")))
    assert rows
    short = config.language.model_copy(update={"vocab_size": 250})
    assert torch.equal(language_state(tmp_path / "qwen", short)["lm_head.weight"], qwen.lm_head.weight[:250])
    table = torch.arange(6.0).view(3, 2)
    assert resized_rows(table, 5).tolist() == [[0, 1], [2, 3], [4, 5], [2, 3], [2, 3]]


def test_a_tied_head_is_written_out(config, tmp_path):
    tied = config.language.model_copy(update={"tie_word_embeddings": True})
    model = Qwen3ForCausalLM(language_config(tied))
    model.save_pretrained(tmp_path)
    state = language_state(tmp_path, config.language)
    assert torch.equal(state["lm_head.weight"], model.model.embed_tokens.weight)
    assert "lm_head.weight" not in language_state(tmp_path, tied)


def test_positions_keep_their_place_when_resized():
    """A plane stays one within a twentieth of a cell, apart from the border, where bicubic has no neighbours."""
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"), -1).flatten(0, 1)
    larger = resized_positions(grid, 16).unflatten(0, (16, 16))[4:-4, 4:-4]
    expected = (torch.arange(16.0) + 0.5) / 2 - 0.5
    torch.testing.assert_close(larger[..., 0], expected[4:-4, None].expand(8, 8), atol=0.05, rtol=0)
    torch.testing.assert_close(larger[..., 1], expected[None, 4:-4].expand(8, 8), atol=0.05, rtol=0)
    assert resized_positions(grid, 8) is grid
    with pytest.raises(DataError, match="63 rows"):
        resized_positions(grid[:63], 8)


def test_an_index_that_points_elsewhere_is_refused(config, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x.safetensors"}}')
    with pytest.raises(DataError, match="lies elsewhere"):
        tower_state(tmp_path, config.vision)
