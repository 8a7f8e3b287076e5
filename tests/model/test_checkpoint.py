"""Folders of weights: what is saved loads again, strictly."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import init_from_parts, load_model, save_model
from model.pack import pack
from pipelines.core.errors import ConfigError, DataError


@pytest.fixture
def folder(small_model, small_processor, tmp_path):
    save_model(tmp_path / "model", small_model, small_processor)
    return tmp_path / "model"


def test_saved_and_loaded_models_agree(small_model, small_processor, folder, make_sample):
    again, processor = load_model(folder)
    packed = pack([make_sample(0, 9, ((2, 3),)), make_sample(1, 30)])
    assert torch.equal(again(packed).logits, small_model(packed).logits)
    assert processor.config == small_processor.config
    assert processor.tokenizer.encode("Hé!") == small_processor.tokenizer.encode("Hé!")
    assert all(p.requires_grad for p in again.parameters())
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_dtype_of_loading(folder):
    model, _ = load_model(folder, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_names_are_the_released_ones(golden, folder):
    names = {name.replace("layers.1.", "layers.0.") for name in load_file(folder / "model.safetensors")}
    released = {name for name in golden.json("released_tensors.json")["tensors"] if ".layers." not in name}
    released |= {name for name in golden.json("released_tensors.json")["tensors"] if ".layers.0." in name}
    assert names == released


def test_the_released_layout_loads(golden, golden_model, golden_config, small_processor, tmp_path):
    (tmp_path / "config.json").write_bytes(golden.bytes("tiny_model/config.json"))
    (tmp_path / "model.safetensors").write_bytes(golden.bytes("tiny_model/model.safetensors"))
    small_processor.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(DataError, match="288 tokens, the model 272"):  # weights fit, this tokenizer does not
        load_model(tmp_path)


def test_sharded_folders_load(folder, small_model):
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    shards = {"model-1.safetensors": names[:40], "model-2.safetensors": names[40:]}
    for shard, held in shards.items():
        save_file({name: state[name] for name in held}, folder / shard)
    index = {"weight_map": {name: shard for shard, held in shards.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()
    again, _ = load_model(folder)
    assert all(torch.equal(t, small_model.state_dict()[name]) for name, t in again.state_dict().items())


def test_tied_embeddings_are_saved_once(small_config, small_processor, tmp_path, make_sample):
    from model.minicpmv import MiniCPMV

    language = small_config.language.model_copy(update={"tie_word_embeddings": True})
    tied = MiniCPMV(small_config.model_copy(update={"language": language})).eval()
    save_model(tmp_path, tied, small_processor)
    assert "llm.lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    again, _ = load_model(tmp_path)
    assert again.llm.lm_head.weight is again.llm.model.embed_tokens.weight
    packed = pack([make_sample(0, 9)])
    assert torch.equal(again(packed).logits, tied(packed).logits)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_are_named(folder, change):
    state = load_file(folder / "model.safetensors")
    if change == "missing":
        del state["resampler.query"]
    elif change == "unknown":
        state["resampler.pos_embed"] = torch.zeros(3)
    else:
        state["resampler.query"] = torch.zeros(3, 128)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(DataError, match="weights do not fit the model") as error:
        load_model(folder)
    assert "resampler." in str(error.value)


def test_damaged_and_missing_folders(folder, tmp_path):
    with pytest.raises(ConfigError, match="no model found"):
        load_model(tmp_path / "nowhere")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match="missing"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="does not describe a model"):
        load_model(folder)


@pytest.mark.parametrize("prefixed", [False, True])
def test_start_from_a_tower_and_a_language_model(small_model, small_config, tmp_path, prefixed):
    files = {}
    for prefix, part in (("vpm.", small_model.vpm), ("llm.", small_model.llm)):
        state = {(prefix if prefixed else "") + name: tensor.clone() for name, tensor in part.state_dict().items()}
        files[prefix] = tmp_path / f"{prefix}safetensors"
        save_file(state, files[prefix])
    starts = [init_from_parts(small_config, files["vpm."], files["llm."], seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(starts[0].vpm.post_layernorm.weight, small_model.vpm.post_layernorm.weight)
    assert torch.equal(starts[0].llm.lm_head.weight, small_model.llm.lm_head.weight)
    assert torch.equal(starts[0].resampler.query, starts[1].resampler.query)
    assert not torch.equal(starts[0].resampler.query, starts[2].resampler.query)
    assert all(p.requires_grad and p.device.type == "cpu" for p in starts[0].parameters())


def test_a_start_without_towers_is_the_published_one_and_takes_given_weights(small_config, tmp_path):
    query = torch.full((small_config.query_num, small_config.language.hidden_size), 0.25)
    save_file({"resampler.query": query}, tmp_path / "start.safetensors")
    first, again, given = (
        init_from_parts(small_config, start=start, seed=1) for start in (None, None, tmp_path / "start.safetensors")
    )
    positions = first.vpm.embeddings.position_embedding.weight
    assert positions.std().item() == pytest.approx(small_config.vision.hidden_size**-0.5, rel=0.1)  # torch's own: 1
    assert torch.equal(given.resampler.query, query)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
        assert torch.equal(value, given.state_dict()[name]) == (name != "resampler.query"), name
    with pytest.raises(ConfigError, match="both a vision and a language file"):
        init_from_parts(small_config, vision=tmp_path / "vision.safetensors")
