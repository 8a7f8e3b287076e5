"""The 3D-Resampler against the released one, its tables, and the grid start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.resampler import Resampler, init_resampler, position_terms, sincos, temporal_terms

CASES = [
    "main_no_temporal",
    "main_temporal_groups",
    "main_ragged_package",
    "main_all_minus_one_pair",
    "q64_no_temporal",
    "q64_temporal_groups",
    "q64_late_ticks",
]


@pytest.mark.parametrize("case", CASES)
def test_equals_the_released_resampler(golden, case):
    spec = golden.json("resampler/manifest.json")[case]
    data, sizes = golden.tensors(spec["file"]), None
    sizes = data["tgt_sizes"]
    shape, prefix = spec["config"], spec["config"]["weights_prefix"]
    weights = golden.tensors(shape["weights"])
    module = Resampler(shape["num_queries"], shape["embed_dim"], shape["kv_dim"])
    module.load_state_dict({name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)})
    x = torch.cat([rows[: r * c] for rows, (r, c) in zip(data["x"], sizes.tolist(), strict=True)])
    with torch.no_grad():
        out = module(x, sizes, spec["temporal_ids"] or [[-1]] * len(sizes))
    torch.testing.assert_close(out, data["output"], atol=spec["tolerance_abs"], rtol=0)


def test_tables_at_the_real_width(golden):
    data = golden.tensors("position_tables/sincos_4096.safetensors")
    channels = data["channels"]
    at = data["pos2d_rows_cols"].tolist()
    got = torch.stack([position_terms([(row + 1, col + 1)], 4096)[-1] for row, col in at])
    torch.testing.assert_close(got[:, channels], data["pos2d"], atol=1e-5, rtol=0)
    ticks = data["ticks"].tolist()
    for row, tick in enumerate(ticks):
        got_tick = temporal_terms([tick], 4096)[0, channels]
        torch.testing.assert_close(got_tick, data["temporal"][row], atol=2e-7 * tick + 1e-5, rtol=0)


def test_columns_come_first_and_views_are_row_major():
    terms = position_terms([(2, 3)], 16)
    column, row = sincos(np.arange(3), 8), sincos(np.arange(2), 8)
    assert torch.equal(terms[4], torch.cat([column[1], row[1]]))  # patch 4 = row 1, column 1


def test_a_tick_of_minus_one_has_no_term():
    terms = temporal_terms([-1, 0, 7], 8)
    assert terms[0].abs().sum() == 0
    assert terms[1, 4:].tolist() == [1, 1, 1, 1]


@pytest.fixture
def small() -> Resampler:
    module = Resampler(4, 128, 12).double()
    init_resampler(module, torch.Generator().manual_seed(0))
    return module


def loop_reference(module: Resampler, x: torch.Tensor, sizes: list[tuple[int, int]], packages) -> torch.Tensor:
    """One package at a time through torch's own multi-head attention."""
    out, start, view = [], 0, 0
    for package in packages:
        keys, values = [], []
        for tick in package:
            rows, cols = sizes[view]
            value = module.ln_kv(module.kv_proj(x[start : start + rows * cols]))
            term = position_terms([(rows, cols)], 128) + temporal_terms([tick], 128)
            keys.append(value + term)
            values.append(value)
            start, view = start + rows * cols, view + 1
        query = module.ln_q(module.query)
        row, _ = module.attn(query[:, None], torch.cat(keys)[:, None], torch.cat(values)[:, None])
        out.append(module.ln_post(row[:, 0]) @ module.proj)
    return torch.stack(out)


def test_packed_equals_the_loop_in_value_and_gradient(small):
    sizes = [(2, 3), (1, 4), (2, 2), (2, 2), (3, 2)]
    packages = [
        (0, 4),
        (-1,),
        (7, 9),
    ]
    x = torch.randn(24, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    got, expected = small(x, torch.tensor(sizes), packages), loop_reference(small, x, sizes, packages)
    torch.testing.assert_close(got, expected, atol=1e-10, rtol=0)
    inputs = [x, *small.parameters()]
    weight = torch.randn(got.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for one, other in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((expected * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


def test_gradient_check_of_the_packed_3d_path(small):
    x = torch.randn(10, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3), requires_grad=True)
    sizes = torch.tensor([(1, 3), (1, 3), (2, 2)])
    assert torch.autograd.gradcheck(lambda t: small(t, sizes, [(3, 5), (-1,)]), (x,), atol=1e-6, fast_mode=True)


def test_all_minus_one_pair_is_one_row():
    module = Resampler(2, 128, 8)
    init_resampler(module, torch.Generator().manual_seed(0))
    assert module(torch.zeros(4, 8), torch.tensor([(1, 2), (2, 1)]), [(-1, -1)]).shape == (1, 2, 128)
    assert module(torch.zeros(0, 8), torch.zeros(0, 2, dtype=torch.long), []).shape == (0, 2, 128)


@pytest.mark.parametrize("packages", [[(-1,)], [(-1,), (-1,), (-1,)], [(-1, 0), ()]])
def test_packages_that_do_not_fit_are_an_error(small, packages):
    with pytest.raises(ValueError, match="packages of"):
        small(torch.zeros(4, 12, dtype=torch.float64), torch.tensor([(1, 2), (2, 1)]), packages)


def test_a_package_of_six_frames_is_cheap_to_ask_for(small):
    sizes = torch.tensor([(2, 2)] * 6)
    assert small(torch.zeros(24, 12, dtype=torch.float64), sizes, [(0, 1, 2, 3, 4, 5)]).shape == (1, 4, 128)


def test_initialisation_follows_the_generator():
    first, second = Resampler(8, 128, 12), Resampler(8, 128, 12)
    for module in (first, second):
        init_resampler(module, torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
