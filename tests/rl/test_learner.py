"""The learner on real rollouts: parity with the sampler, gradients that no cut can move, weights that prove
themselves."""

import copy

import numpy as np
import pytest
import torch

from model.checkpoint import load_model
from model.training.engine import TorchEngine
from pipelines.core.errors import CookhouseError, InfraError
from rl.engines.protocol import ScoreRequest
from rl.learner import Learner
from rl.policy import Policy
from rl.prompts import PromptPlan
from rl.records import Group, Judgement, Reward
from rl.settings import ReinforceConfig
from rl.transport import Weights, flatten
from rl.worker import RolloutWorker

CONFIG = ReinforceConfig(
    prompts_per_step=6,
    group=4,
    chunk=3,
    max_new_tokens_short=3,
    max_new_tokens_long=8,
    temperature=0.9,
    warmup=0,
    lr=1e-3,
)


@pytest.fixture(scope="module")
def rolled(noisy_model, questions):
    """(groups with made-up rewards, prompts by uid, weights they were sampled with)"""
    learner, worker = Learner(noisy_model, CONFIG), RolloutWorker(noisy_model, CONFIG)
    learner.start()
    weights = learner.publish()
    plan = PromptPlan(questions, seed=0, prompts_per_step=6, long_share=0.5, chunk=3)
    groups, prompts = [], {}
    for chunk in plan.batch(0):
        light, tensors = worker.roll(chunk, weights)
        prompts |= {prompt.uid: prompt for prompt in tensors}
        for number, rollout in enumerate(light.rollouts):
            values = [0.0] * 4 if number == 2 else [1.0, -1.0, 0.5, -0.5]
            reward = Reward(0.0, Judgement(0.0, 1.0, 0.0, "wrong"))
            groups.append(Group(rollout, (reward,) * 4, tuple(values)))
    return groups, prompts, weights


def update(noisy_model, rolled, **changes) -> np.ndarray:
    """The weights after one batch."""
    learner = Learner(noisy_model, CONFIG.model_copy(update=changes))
    learner.start()
    learner.learn(rolled[0], rolled[1])
    return learner.publish().flat


def test_both_sides_compute_in_float32(noisy_model):
    """No CPU emulates it, and parity between sampler and learner rests on it."""
    learner, worker = Learner(noisy_model, CONFIG), RolloutWorker(noisy_model, CONFIG)
    assert learner.engine.precision == "fp32"
    for policy in (learner.engine.model, worker.engine.policy):
        assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}


def test_parity_is_float_noise(noisy_model, rolled):
    learner = Learner(noisy_model, CONFIG)
    learner.start()
    report = learner.learn(rolled[0], rolled[1])
    assert 0 <= report.metrics["parity_max_abs"] < 1e-5
    assert report.metrics["kl"] < 1e-9
    assert report.metrics["clip_high"] == 0
    assert report.tokens == sum(group.rollout.tokens for group in rolled[0] if group.informative)


def test_broken_parity_stops_the_run(noisy_model, rolled):
    learner = Learner(noisy_model, CONFIG.model_copy(update={"temperature": 1.0}))
    learner.start()
    with pytest.raises(CookhouseError, match="disagree"):
        learner.learn(rolled[0], rolled[1])


def test_gradient_does_not_depend_on_packing(noisy_model, rolled):
    """One row a pack, or all in one: the same update up to float noise (Adam's first step magnifies it)."""
    reference = update(noisy_model, rolled)
    for budget in (64, 200):
        assert np.abs(update(noisy_model, rolled, token_budget=budget) - reference).max() < 2e-4


def test_gradient_does_not_depend_on_ranks(noisy_model, rolled):
    """Each rank's gradient comes from its packs alone; their plain sum is the gradient of one rank."""

    class Rank(TorchEngine):
        def __init__(self, rank, ranks):
            super().__init__(Policy.adopt(load_model(noisy_model)[0]))
            self.rank, self.world_size, self.gradient = rank, ranks, {}

        def step(self):
            found = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
            self.gradient = found
            return super().step()

    def gradient(rank, ranks):
        engine = Rank(rank, ranks)
        learner = Learner(noisy_model, CONFIG.model_copy(update={"token_budget": 150}), engine)
        learner.start()
        learner.learn(rolled[0], rolled[1])
        return engine.gradient

    whole, parts = gradient(0, 1), [gradient(rank, 4) for rank in range(4)]
    for name, value in whole.items():
        assert torch.allclose(sum(part[name] for part in parts), value, atol=1e-6), name


def test_skipping_silent_groups_changes_nothing(noisy_model, rolled):
    """The group without advantages is left out of the computation but counts in the denominator."""
    groups, prompts, _ = rolled
    nudged = [
        group if group.informative else Group(group.rollout, group.rewards, (1e-30,) * 4) for group in groups
    ]  # computed, weighs nothing
    assert np.abs(update(noisy_model, (nudged, prompts)) - update(noisy_model, rolled)).max() < 2e-4


def test_nothing_to_learn_moves_nothing(noisy_model, rolled):
    silent = [Group(group.rollout, group.rewards, (0.0,) * 4) for group in rolled[0]]
    assert np.array_equal(update(noisy_model, (silent, rolled[1])), rolled[2].flat)


def test_weights_prove_themselves(noisy_model, questions, rolled):
    """A worker loads what it is told to sample with; a tensor that changes in its memory is found before the next
    chunk."""
    weights = rolled[2]
    worker = RolloutWorker(noisy_model, CONFIG)
    chunk = PromptPlan(questions, seed=0, prompts_per_step=6, long_share=0.5, chunk=3).batch(0)[0]
    first, _ = worker.roll(chunk, weights)
    moved = Weights(weights.version, weights.layout, weights.flat + 0.01)
    with pytest.raises(InfraError, match="does not hold"):  # half a sync: the buffer is not what the version says
        RolloutWorker(noisy_model, CONFIG).roll(chunk, moved)
    with torch.no_grad():
        next(worker.engine.policy.llm.parameters())[0, 0] += 1e-3
    with pytest.raises(InfraError, match="memory"):
        worker.roll(chunk, weights)
    again, _ = RolloutWorker(noisy_model, CONFIG).roll(chunk, weights)
    assert first.rollouts == again.rollouts, "a replaced worker rolls the same completions"


def test_fingerprint_sees_every_bit():
    tensors = {"a": torch.randn(3, 4), "b": torch.zeros(2)}
    base = flatten(0, tensors).version.fingerprint
    assert flatten(5, copy.deepcopy(tensors)).version.fingerprint == base
    for other in (
        {**tensors, "b": torch.tensor([0.0, 1e-38])},
        {**tensors, "b": torch.zeros(1, 2)},
        {"a": tensors["a"], "c": tensors["b"]},
    ):
        assert flatten(0, other).version.fingerprint != base


def test_score_is_what_sampling_says(noisy_model, rolled):
    """RLPR's request: log-probabilities of given tokens after a prefix, at temperature 1."""
    config = CONFIG.model_copy(update={"temperature": 1.0})
    worker = RolloutWorker(noisy_model, config)
    worker.engine.load(rolled[2])
    prompts = [rolled[1][group.rollout.prompt.uid] for group in rolled[0]]
    sampled = worker.engine.generate(prompts[:3], "long", config.sampling, seed=3)
    requests = [
        ScoreRequest(prompt, group[0].token_ids[:2], group[0].token_ids[2:])
        for prompt, group in zip(prompts, sampled, strict=False)
    ]
    for scores, group in zip(worker.engine.score(requests), sampled, strict=True):
        assert scores == pytest.approx(group[0].logprobs[2:], abs=1e-5)
