"""The configuration record and the released config.json."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from model.config import ModelConfig
from pipelines.core.errors import ConfigError


@pytest.mark.parametrize("name", ["tiny", "minicpm_v_1b", "minicpm_v_4_5"])
def test_shipped_sizes_survive_the_released_layout(request, name):
    path = request.config.rootpath / "conf" / "model" / f"{name}.yaml"
    config = ModelConfig(**yaml.safe_load(path.read_text()))
    assert ModelConfig.from_released(config.to_released()) == config


def test_reads_a_released_file(golden):
    config = ModelConfig.from_released(golden.json("tiny_model/config.json"))
    assert (config.language.hidden_size, config.vision.grid, config.query_num) == (256, 70, 16)
    assert (config.slicing.scale_resolution, config.slicing.max_slice_nums, config.use_image_id) == (448, 9, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop_vision_last_layer": True}, "last layer would be dropped"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
        ({"vocab_size": ...}, "lacks vocab_size"),
    ],
)
def test_refuses_what_it_does_not_have(golden, change, message):
    data = golden.json("tiny_model/config.json") | change
    data = {name: value for name, value in data.items() if value is not ...}
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_released(data)


def test_a_missing_drop_flag_means_true_as_in_the_released_class(golden):
    data = golden.json("tiny_model/config.json")
    del data["drop_vision_last_layer"]
    with pytest.raises(ConfigError, match="dropped"):
        ModelConfig.from_released(data)


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("language", "hidden_size", 100, "multiple of 128"),
        ("language", "num_key_value_heads", 3, "multiple of num_key_value_heads"),
        ("vision", "num_attention_heads", 5, "multiple of num_attention_heads"),
        ("vision", "patch_size", 16, "differ"),
        ("language", "hiden_size", 1, "Extra inputs"),
    ],
)
def test_sizes_that_cannot_be_built_are_errors(small_config, part, field, value, message):
    data = small_config.model_dump()
    data[part][field] = value
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**data)
