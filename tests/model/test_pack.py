"""Laying samples end to end."""

from __future__ import annotations

import pytest
import torch

from model.pack import Encoded, pack


def test_positions_restart_and_spans_move(make_sample):
    samples = [make_sample(0, 6, ((2, 2),)), make_sample(1, 3), make_sample(2, 4, ((1, 2), (1, 3)), ((0, 5),))]
    packed = pack(samples)
    assert packed.cu_seqlens.tolist() == [0, 13, 18, 29]
    assert packed.lengths == [13, 5, 11]
    assert packed.position_ids.tolist() == [*range(13), *range(5), *range(11)]
    assert packed.visual_positions.tolist() == [2, 3, 4, 5, 20, 21, 22, 23]  # by packages, not by views
    assert packed.packages == ((-1,), (0, 5))
    assert (len(packed.patches), packed.tgt_sizes.tolist()) == (9, [[2, 2], [1, 2], [1, 3]])


def test_text_only_needs_nothing_else():
    ids = torch.tensor([1, 2, 0])
    packed = pack([Encoded(ids, ids)])
    assert (packed.packages, len(packed.patches), len(packed.visual_positions), packed.supervised) == ((), 0, 0, 2)


def test_supervised_counts_no_first_token():
    ids = torch.arange(4)
    assert pack([Encoded(ids, ids), Encoded(ids, torch.full((4,), -100))]).supervised == 3


def test_to_casts_patches_only(make_sample):
    moved = pack([make_sample(0, 6, ((2, 2),))]).to("cpu", torch.bfloat16)
    assert (moved.patches.dtype, moved.input_ids.dtype, moved.tgt_sizes.device.type) == (
        torch.bfloat16,
        torch.long,
        "cpu",
    )


def test_nothing_to_pack_is_an_error():
    with pytest.raises(ValueError, match="at least one sample"):
        pack([])
    with pytest.raises(ValueError, match="no sample may be empty"):
        pack([Encoded(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(2)}, "labels"),
        ({"packages": ((-1,), (-1,))}, "2 packages"),
        ({"patches": torch.zeros(3, 588)}, "name 4 patches"),
    ],
)
def test_parts_that_disagree_are_errors(make_sample, change, message):
    sample = make_sample(0, 6, ((2, 2),))
    with pytest.raises(ValueError, match=message):
        Encoded(**(vars(sample) | change))
