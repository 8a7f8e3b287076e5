"""The packed tower against the released one, and against itself one view at a time."""

from __future__ import annotations

import pytest
import torch

from model.config import VisionConfig
from model.vision import VisionTower, init_vision, position_buckets, position_ids


@pytest.mark.parametrize("case", ["padded_batch", "single_unpadded"])
def test_equals_the_released_tower(golden, golden_model, case):
    spec = golden.json("vision/manifest.json")[case]
    data = golden.tensors(f"vision/{case}.safetensors")
    sizes = data["tgt_sizes"]
    lengths = sizes.prod(1).tolist()
    patches = torch.cat([golden.patches(p[:, :, : n * 14]) for p, n in zip(data["pixel_values"], lengths, strict=True)])
    with torch.no_grad():
        embedded = golden_model.vpm.embed(patches, sizes).split(lengths)
        out = golden_model.vpm(patches, sizes).split(lengths)
    for view in range(len(lengths)):
        for name, got in (("embeddings", embedded[view]), ("last_hidden_state", out[view])):
            torch.testing.assert_close(got, data[f"{name}.{view}"], atol=spec["tolerance_abs"], rtol=0)


def test_position_buckets_are_exact_for_every_side(golden):
    table = golden.json("position_tables/siglip_buckets.json")["buckets"]
    assert len(table) == 100
    for count, buckets in table.items():
        assert list(position_buckets(int(count), 70)) == buckets, count


def test_position_ids_are_row_major():
    assert position_ids(2, 3, 70).tolist() == [0, 23, 46, 35 * 70, 35 * 70 + 23, 35 * 70 + 46]


def test_packed_equals_one_view_at_a_time(small_model, make_sample):
    sizes = torch.tensor([(2, 5), (1, 1), (5, 2), (3, 4), (1, 1)])
    lengths = sizes.prod(1).tolist()
    patches = torch.randn(sum(lengths), 588, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        packed = small_model.vpm(patches, sizes)
        alone = [small_model.vpm(part, size[None]) for part, size in zip(patches.split(lengths), sizes, strict=True)]
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-5, rtol=0)


def test_sizes_that_do_not_fit_the_patches_are_an_error(small_model):
    with pytest.raises(ValueError, match="name 6 patches in 1 views, but 5 came"):
        small_model.vpm(torch.zeros(5, 588), torch.tensor([(2, 3)]))
    with pytest.raises(ValueError, match="came"):
        small_model.vpm(torch.zeros(0, 588), torch.tensor([(0, 3)]))


def test_initialisation_follows_the_generator():
    config = VisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=112
    )
    towers = [VisionTower(config) for _ in range(2)]
    for tower in towers:
        init_vision(tower, torch.Generator().manual_seed(3))
    first, second = (tower.state_dict() for tower in towers)
    assert all(torch.equal(first[name], second[name]) for name in first)
