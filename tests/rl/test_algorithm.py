"""Advantages: the formulas, and the cases where a group must teach nothing. The clipped loss against its definition,
token by token."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.algorithm import ESTIMATORS, dr_grpo, grpo, ppo_clip, rloo, token_logprobs

CLIP = (0.2, 0.28)


def scalar(ratio: float, advantage: float, low: float, high: float) -> float:
    return -min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)


def test_ppo_clip_is_its_definition():
    ratios, advantages = [0.5, 0.9, 1.0, 1.2, 1.5, 0.5, 1.5], [1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0]
    logprobs = torch.tensor([math.log(r) for r in ratios])
    loss, sums = ppo_clip(logprobs, torch.zeros(7), torch.tensor(advantages), *CLIP)
    assert loss.item() == pytest.approx(
        sum(scalar(r, a, *CLIP) for r, a in zip(ratios, advantages, strict=True)), rel=1e-5
    )
    assert (sums["clip_high"].item(), sums["clip_low"].item()) == (1, 1)
    assert sums["kl"].item() == pytest.approx(sum(r - math.log(r) - 1 for r in ratios), rel=1e-4)


def test_clipped_tokens_have_no_gradient_and_on_policy_is_reinforce():
    logprobs = torch.tensor([math.log(1.5), 0.0], requires_grad=True)
    loss, _ = ppo_clip(logprobs, torch.zeros(2), torch.tensor([1.0, 0.7]), *CLIP)
    loss.backward()
    assert torch.allclose(logprobs.grad, torch.tensor([0.0, -0.7]))


def test_one_broken_token_stays_finite():
    loss, sums = ppo_clip(torch.tensor([-500.0, 0.0]), torch.tensor([0.0, -500.0]), torch.tensor([-1.0, -1.0]), *CLIP)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(value) for value in sums.values())


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="behaviour"):
        ppo_clip(torch.zeros(3), torch.zeros(2), torch.zeros(3), *CLIP)


def test_temperature_and_entropy():
    logits = torch.randn(5, 11)
    targets = torch.arange(5)
    logprobs, entropy = token_logprobs(logits, targets, temperature=0.7)
    expected = torch.distributions.Categorical(logits=logits / 0.7)
    assert torch.allclose(logprobs, expected.log_prob(targets), atol=1e-6)
    assert torch.allclose(entropy, expected.entropy(), atol=1e-6)


def test_grpo_standardises():
    rng = np.random.default_rng(0)
    advantages = grpo(rng.normal(size=16))
    assert abs(advantages.mean()) < 1e-9
    assert abs(advantages.std() - 1) < 1e-5


@pytest.mark.parametrize("name", ESTIMATORS)
def test_equal_rewards_teach_nothing(name):
    assert not ESTIMATORS[name]([0.3] * 8).any()
    assert not ESTIMATORS[name]([0.3 + 1e-8 * i for i in range(8)]).any()


def test_rloo_is_the_mean_of_the_others():
    rewards = [1.0, 0.0, 2.0, 0.5]
    others = [r - (sum(rewards) - r) / 3 for r in rewards]
    assert np.allclose(rloo(rewards), others)
    assert np.allclose(rloo(rewards), dr_grpo(rewards) * 4 / 3)


@pytest.mark.parametrize("rewards", [[], [float("nan"), 1.0], [[1.0]]])
def test_refuses_what_is_no_group(rewards):
    with pytest.raises(ValueError, match=r"group|finite"):
        grpo(rewards)


def test_leave_one_out_needs_two():
    with pytest.raises(ValueError, match="two"):
        rloo([1.0])


def test_the_process_of_the_loop_needs_no_torch():
    code = "import sys, rl.controller; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
