"""Attention in blocks equals attention through one dense mask, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from model import attention
from model.attention import Blocks, attend, block_attention, query_attention, varlen_kernel
from model.pack import pack
from pipelines.core.errors import ConfigError

CPU = torch.device("cpu")


def rows(total: int, heads: int, kv_heads: int, dtype=torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(total)
    return [
        torch.randn(total, h, 8, generator=generator).to(dtype).requires_grad_() for h in (heads, kv_heads, kv_heads)
    ]


def dense_attention(q, k, v, lengths, key_lengths=None, *, causal=False):
    """The oracle: the same result through one ``[N, K]`` mask; rows in the given order."""
    query_block, key_block = (
        torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        for sizes in (lengths, key_lengths or lengths)
    )
    mask = query_block[:, None] == key_block
    mask = mask.tril() if causal else mask
    q, k, v = (x.transpose(0, 1)[None] for x in (q.to(v.dtype), k.to(v.dtype), v))
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=q.shape[1] != k.shape[1])
    return out[0].transpose(0, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.sampled_from([0.0, 0.25, 1.0]), st.booleans())
def test_equals_the_dense_mask(lengths, slack, grouped):
    causal = slack > 0  # only causal attention may share groups between unequal lengths
    q, k, v = rows(sum(lengths), 4, 2 if grouped else 4)
    blocks = Blocks.of(lengths, CPU, slack)
    got = blocks.restore(block_attention(*(blocks.gather(x) for x in (q, k, v)), blocks, causal=causal))
    expected = dense_attention(q, k, v, lengths, causal=causal)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    weight = torch.randn(got.shape, generator=torch.Generator().manual_seed(0))
    for one, other in zip(
        torch.autograd.grad((got * weight).sum(), (q, k, v)),
        torch.autograd.grad((expected * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@given(st.lists(st.integers(1, 9), min_size=0, max_size=9), st.sampled_from([0.0, 0.25, 1.0]))
def test_groups_partition_the_rows(lengths, slack):
    blocks = Blocks.of(lengths, CPU, slack)
    ends = [group.start + group.rows for group in blocks.groups]
    assert [group.start for group in blocks.groups] == [0, *ends][: len(ends)]
    assert sum(group.count for group in blocks.groups) == len(lengths)
    assert all(group.count * group.length <= group.rows * (1 + slack) + 1e-9 for group in blocks.groups)
    x = torch.arange(sum(lengths))
    assert torch.equal(blocks.restore(blocks.gather(x)), x)


@pytest.mark.parametrize("causal", [False, True])
def test_explicit_bfloat16_stays_near_float32(causal):
    q, k, v = (x.unflatten(0, (2, 30)).transpose(1, 2) for x in rows(60, 4, 2))
    exact = attend(q, k, v, causal=causal)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = attend(q, k, v, causal=causal)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.03, rtol=0)


def test_no_token_sees_another_document_or_the_future():
    lengths = [4, 6, 5]
    q, k, v = rows(15, 2, 2)
    blocks = Blocks.of(lengths, CPU, 0.5)
    out = blocks.restore(block_attention(*(blocks.gather(x) for x in (q, k, v)), blocks, causal=True))
    (grad,) = torch.autograd.grad(out[6].sum(), v)  # third token of the second document
    assert grad.abs().sum((1, 2)).nonzero()[:, 0].tolist() == [4, 5, 6]


@pytest.mark.parametrize("kernel", ["blocks", "varlen"])
def test_queries_asked_of_every_block(kernel, monkeypatch):
    monkeypatch.setattr(attention, "varlen_kernel", lambda _: stand_in)
    lengths = [5, 3, 5, 1]
    q = torch.randn(2, 4, 8)
    _, k, v = rows(14, 2, 2)
    blocks = Blocks.of(lengths, CPU, kernel=kernel)
    got = query_attention(q, blocks.gather(k), blocks.gather(v), blocks)
    for row, block in enumerate(blocks.order):
        start = sum(lengths[:block])
        one = attend(q[None], *(x[start : start + lengths[block]].transpose(0, 1)[None] for x in (k, v)))
        torch.testing.assert_close(got[row], one[0].transpose(0, 1).flatten(1), atol=1e-6, rtol=0)


def stand_in(q, k, v, q_ends, k_ends, q_longest, k_longest, causal):
    """The contract of a varlen kernel (int32 ends, longest block), fulfilled by the dense mask."""
    assert q_ends.dtype == k_ends.dtype == torch.int32
    assert (q_ends[-1], k_ends[-1]) == (len(q), len(k))
    assert (q_longest, k_longest) == (q_ends.diff().max(), k_ends.diff().max())
    return dense_attention(q, k, v, q_ends.diff().tolist(), k_ends.diff().tolist(), causal=causal)


def test_every_kernel_gives_the_model_the_same_logits(small_model, make_sample, monkeypatch):
    """varlen needs a GPU: what it is called with is checked against its contract here."""
    monkeypatch.setattr(attention, "varlen_kernel", lambda _: stand_in)
    packed = pack(
        [make_sample(0, 9, ((2, 3), (4, 2))), make_sample(1, 11), make_sample(2, 7, ((2, 2),) * 3, ((0, 4, 9),))]
    )
    expected = small_model(packed).logits
    small_model.set_attention("varlen")
    torch.testing.assert_close(small_model(packed).logits, expected, atol=1e-5, rtol=0)


def test_kernels_for_gpus_say_so():
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        varlen_kernel(CPU)
