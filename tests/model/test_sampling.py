"""Filters of the next-token distribution against transformers' own processors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

from model.sampling import SHORT, Sampling, choose

NOTHING = torch.zeros(1, 0, dtype=torch.long)


def reference(logits, sampling, said):
    if sampling.repetition_penalty != 1:
        logits = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(said, logits)
    logits = logits / sampling.temperature
    if sampling.top_k:
        logits = TopKLogitsWarper(sampling.top_k)(said, logits)
    if sampling.top_p < 1:
        logits = TopPLogitsWarper(sampling.top_p)(said, logits)
    return logits.softmax(-1)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 9999), st.sampled_from([0, 1, 5, 20]), st.sampled_from([1.0, 0.9, 0.3]), st.sampled_from([1.0, 1.3])
)
def test_draws_follow_the_distribution_of_transformers(seed, top_k, top_p, penalty):
    """Inverting the distribution at a fine grid of draws gives its probabilities back."""
    generator = torch.Generator().manual_seed(seed)
    sampling = Sampling(0.7, top_k=top_k, top_p=top_p, repetition_penalty=penalty)
    logits = 2 * torch.randn(1, 30, generator=generator)
    said = torch.randint(0, 30, (1, 6), generator=generator)
    expected = reference(logits.clone(), sampling, said)[0]
    grid = 2000
    draws = (torch.arange(grid) + 0.5) / grid
    chosen, logp = choose(logits.expand(grid, -1), sampling, draws, said.expand(grid, -1))
    assert (torch.bincount(chosen, minlength=30) / grid - expected).abs().max() < 2 / grid
    torch.testing.assert_close(logp.exp(), expected[chosen], atol=1e-5, rtol=0)


def test_greedy_needs_no_draws():
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    chosen, logp = choose(logits, Sampling(), None, NOTHING)
    assert chosen.tolist() == [1]
    torch.testing.assert_close(logp, logits.log_softmax(-1)[:, 1])


def test_the_released_short_mode():
    assert (SHORT.temperature, SHORT.top_p, SHORT.top_k, SHORT.repetition_penalty) == (0.7, 0.8, 100, 1.03)


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}, {"repetition_penalty": 0}])
def test_settings_out_of_range_are_errors(wrong):
    with pytest.raises(ValueError, match="out of range"):
        Sampling(**wrong)
