"""The clipped loss against its definition, token by token."""

import math

import pytest
import torch

from rl.algorithm import Clip, ppo_clip, token_logprobs


def scalar(ratio: float, advantage: float, clip: Clip) -> float:
    return -min(ratio * advantage, min(max(ratio, 1 - clip.low), 1 + clip.high) * advantage)


def test_ppo_clip_is_its_definition():
    clip = Clip(0.2, 0.28)
    ratios, advantages = [0.5, 0.9, 1.0, 1.2, 1.5, 0.5, 1.5], [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0]
    logprobs = torch.tensor([math.log(r) for r in ratios])
    loss, sums = ppo_clip(logprobs, torch.zeros(7), torch.tensor(advantages), clip)
    assert loss.item() == pytest.approx(
        sum(scalar(r, a, clip) for r, a in zip(ratios, advantages, strict=True)), rel=1e-5
    )
    assert (sums["clip_high"].item(), sums["clip_low"].item()) == (1, 1)
    assert sums["kl"].item() == pytest.approx(sum(r - math.log(r) - 1 for r in ratios), rel=1e-4)


def test_clipped_tokens_have_no_gradient_and_on_policy_is_reinforce():
    logprobs = torch.tensor([math.log(1.5), 0.0], requires_grad=True)
    loss, _ = ppo_clip(logprobs, torch.zeros(2), torch.tensor([1.0, 0.7]), Clip())
    loss.backward()
    assert torch.allclose(logprobs.grad, torch.tensor([0.0, -0.7]))


def test_one_broken_token_stays_finite():
    loss, sums = ppo_clip(torch.tensor([-500.0, 0.0]), torch.tensor([0.0, -500.0]), torch.tensor([-1.0, -1.0]), Clip())
    assert torch.isfinite(loss)
    assert all(torch.isfinite(value) for value in sums.values())


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="behaviour"):
        ppo_clip(torch.zeros(3), torch.zeros(2), torch.zeros(3), Clip())


def test_temperature_and_entropy():
    logits = torch.randn(5, 11)
    targets = torch.arange(5)
    logprobs, entropy = token_logprobs(logits, targets, temperature=0.7)
    expected = torch.distributions.Categorical(logits=logits / 0.7)
    assert torch.allclose(logprobs, expected.log_prob(targets), atol=1e-6)
    assert torch.allclose(entropy, expected.entropy(), atol=1e-6)
