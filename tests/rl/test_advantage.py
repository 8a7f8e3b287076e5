"""Advantages: the formulas, and the cases where a group must teach nothing."""

import numpy as np
import pytest

from rl.advantage import ESTIMATORS, dr_grpo, grpo, rloo


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
