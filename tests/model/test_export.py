"""Exported folders: the released layout, readable, checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from model.checkpoint import load_model, preprocessor, save_model
from model.config import ModelConfig
from model.export import CHAT_TEMPLATE, _against, expected, export_model, problems
from model.pack import pack
from model.processor import Processor
from pipelines.core.errors import ConfigError, DataError
from tests.model.conftest import SHARED


@pytest.fixture
def folder(small_model, small_processor, tmp_path) -> Path:
    save_model(tmp_path / "model", small_model, small_processor)
    return tmp_path / "model"


@pytest.fixture
def released_index(golden, tmp_path) -> Path:
    """The published index, rebuilt from the list of its tensors (the file itself is not committed)."""
    listed = golden.json("released_tensors.json")
    index = {
        "metadata": {"total_size": 2 * listed["element_count"]},
        "weight_map": dict.fromkeys(listed["tensors"], "x"),
    }
    (tmp_path / "released.json").write_text(json.dumps(index))
    return tmp_path / "released.json"


def test_export_then_load_gives_the_same_logits(small_model, folder, tmp_path, make_sample):
    files = export_model(folder, tmp_path / "out", torch.float32, shard_bytes=200_000)
    names = {path.name for path in files}
    assert len([name for name in names if name.startswith("model-")]) > 2
    assert {"config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json"} <= names
    again, processor = load_model(tmp_path / "out")
    packed = pack([make_sample(0, 9, ((2, 3),)), make_sample(1, 30)])
    assert torch.equal(again(packed).logits, small_model(packed).logits)
    text = "Hé <|im_end|> 12!"
    assert processor.tokenizer.encode(text) == load_model(folder)[1].tokenizer.encode(text)


def test_bfloat16_is_the_rounded_model(small_model, folder, tmp_path, make_sample):
    export_model(folder, tmp_path / "out", torch.bfloat16)
    again, _ = load_model(tmp_path / "out")
    packed = pack([make_sample(0, 9, ((2, 3),))])
    assert torch.equal(again(packed).logits, small_model.bfloat16().float()(packed).logits)


def test_a_fresh_export_has_no_problems(folder, tmp_path, released_index):
    export_model(folder, tmp_path / "out", torch.bfloat16, shard_bytes=100_000)
    assert problems(tmp_path / "out", released_index) == []


@pytest.mark.parametrize("damage", ["renamed", "shape", "size", "gone", "moved"])
def test_problems_are_found(folder, tmp_path, released_index, damage):
    out = tmp_path / "out"
    export_model(folder, out, torch.bfloat16, shard_bytes=100_000)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    shard = out / index["weight_map"]["resampler.query"]
    tensors = load_file(shard)
    query = tensors.pop("resampler.query")
    if damage == "renamed":
        tensors["resampler.queries"] = query
        index["weight_map"]["resampler.queries"] = index["weight_map"].pop("resampler.query")
    elif damage == "shape":
        tensors["resampler.query"] = query.T.contiguous()
    elif damage == "size":
        tensors["resampler.query"] = query
        index["metadata"]["total_size"] += 1
    elif damage == "moved":
        tensors["resampler.query"] = query
        index["weight_map"]["resampler.query"] = index["weight_map"]["llm.lm_head.weight"]
    save_file(tensors, shard)
    (out / "model.safetensors.index.json").write_text(json.dumps(index))
    word = {"renamed": "resampler.queries", "size": "bytes, the index says"}.get(damage, "resampler.query")
    found = problems(out, released_index)
    assert found
    assert any(word in problem for problem in found)
    if damage == "renamed":
        assert "only in the released index: resampler.query" in found


def test_the_released_size_passes_the_released_index(released_config, golden):
    """Names of the 8.7B model against the published list, layer by layer; one layer less is noticed."""
    released = golden.json("released_tensors.json")["tensors"]
    names = expected(released_config)
    assert _against(names, released, released_config) == []
    short = [name for name in names if ".layers.35." not in name]
    assert len(_against(short, released, released_config)) == 11


def test_the_small_sizes_have_the_released_names(request, golden):
    """Tiny and 1B: the same kinds of tensors (the 1B's head is tied, as in Qwen3-0.6B), and the size 1B says."""
    released = golden.json("released_tensors.json")["tensors"]
    for name, least, most in (("tiny", 4e6, 6e6), ("minicpm_v_1b", 1.0e9, 1.05e9)):
        path = request.config.rootpath / "conf" / "model" / f"{name}.yaml"
        config = ModelConfig(**yaml.safe_load(path.read_text()))
        shapes = expected(config)
        assert _against(shapes, released, config) == []
        assert least < sum(torch.Size(shape).numel() for shape in shapes.values()) < most


def test_configuration_files_equal_the_released_ones(released_config):
    """Every field the published files hold, but paths to code and versions, in our words too."""
    if not (SHARED / "tokenizer").is_dir():
        pytest.skip("the released tokenizer files are not here (set COOKHOUSE_SHARED)")
    theirs = json.loads((SHARED / "tokenizer" / "config.json").read_text())
    ours = released_config.to_released()
    for name in theirs.keys() - {"_name_or_path", "auto_map", "torch_dtype", "transformers_version"}:
        if name in ("vision_config", "slice_config"):
            assert theirs[name].items() <= ours[name].items()
        else:
            assert ours[name] == theirs[name], name
    theirs = json.loads((SHARED / "tokenizer" / "preprocessor_config.json").read_text())
    del theirs["auto_map"]
    assert theirs.items() <= preprocessor(released_config).items()


def test_the_released_tokenizer_is_exported_as_it_came(released_tokenizer, small_config, small_model, tmp_path):
    """vocab.json, merges.txt, added_tokens.json and the tokenizer's settings equal the published files."""
    from model.export import _write_tokenizer
    from model.tokenizer import load_tokenizer

    _write_tokenizer(tmp_path, released_tokenizer)
    for name in ("vocab.json", "added_tokens.json"):
        assert json.loads((tmp_path / name).read_text()) == json.loads((SHARED / "tokenizer" / name).read_text()), name
    merges = [(folder / "merges.txt").read_text().splitlines() for folder in (tmp_path, SHARED / "tokenizer")]
    assert [line for line in merges[0] if not line.startswith("#")] == [
        line for line in merges[1] if line and not line.startswith("#")
    ]
    ours, theirs = (
        json.loads((folder / "tokenizer_config.json").read_text()) for folder in (tmp_path, SHARED / "tokenizer")
    )
    for name in ("added_tokens_decoder", "chat_template", "bos_token", "eos_token", "pad_token", "unk_token"):
        assert ours[name] == theirs[name], name
    assert ours["tokenizer_class"] == theirs["tokenizer_class"]
    again = load_tokenizer(tmp_path)
    text = "<|im_start|>user\nGreat! 12 中文 <unk><think>\n"
    assert again.encode(text) == released_tokenizer.encode(text)
    (tmp_path / "tokenizer.json").unlink()  # the way the released repository comes: vocab.json and merges.txt
    assert load_tokenizer(tmp_path).encode(text) == released_tokenizer.encode(text)


def test_an_occupied_target_and_unfit_weights_are_errors(folder, tmp_path):
    export_model(folder, tmp_path / "out", torch.bfloat16)
    with pytest.raises(ConfigError, match="a model already"):
        export_model(folder, tmp_path / "out", torch.bfloat16)
    state = load_file(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in state.items() if name != "resampler.query"}, folder / "model.safetensors"
    )
    with pytest.raises(DataError, match=r"resampler.query is missing"):
        export_model(folder, tmp_path / "other", torch.bfloat16)
    assert not (tmp_path / "other").exists()


def test_a_processor_reads_the_export(small_config, folder, tmp_path):
    export_model(folder, tmp_path / "out", torch.bfloat16)
    _, processor = load_model(tmp_path / "out")
    assert isinstance(processor, Processor)
    assert processor.tokenizer.chat_template == CHAT_TEMPLATE
    assert processor.config == small_config
