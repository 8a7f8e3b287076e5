"""The learner on real rollouts: parity with the sampler, gradients that no cut can move, weights that prove
themselves."""

import copy

import numpy as np
import pytest
import torch

from model.checkpoint import load_model, save_model
from model.minicpmv import MiniCPMV
from model.training.engine import TorchEngine
from pipelines.core.errors import CookhouseError, InfraError
from rl.engine import RolloutEngine, ScoreRequest
from rl.learner import Learner
from rl.prompts import PromptPlan
from rl.records import Group, Judgement, Reward
from rl.rewards.compose import compose, scored
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
    _, weights = learner.publish()
    groups, prompts = [], {}
    for chunk in PromptPlan(questions, CONFIG, seed=0).batch(0):
        light, tensors = worker.roll(chunk, weights)
        prompts |= {prompt.uid: prompt for prompt in tensors}
        for number in range(len(chunk.prompts)):
            values = [0.0] * 4 if number == 2 else [1.0, -1.0, 0.5, -0.5]
            reward = Reward(0.0, Judgement(0.0, 1.0, 0.0, "wrong"))
            groups.append(Group(light.rollouts[4 * number : 4 * number + 4], (reward,) * 4, tuple(values)))
    return groups, prompts, weights


def update(noisy_model, rolled, **changes) -> np.ndarray:
    """The weights after one batch."""
    learner = Learner(noisy_model, CONFIG.model_copy(update=changes))
    learner.start()
    learner.learn(rolled[0], list(rolled[1].values()))
    return floats(learner.publish()[1])


def floats(weights: Weights) -> np.ndarray:
    return weights.flat.view(np.float32).copy()


def test_both_sides_compute_in_float32(noisy_model):
    """No CPU emulates it, and parity between sampler and learner rests on it."""
    learner, worker = Learner(noisy_model, CONFIG), RolloutWorker(noisy_model, CONFIG)
    learner.start()
    assert learner.engine.precision == "fp32"
    for policy in (learner.engine.module, worker.engine.policy):
        assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}


def test_parity_is_float_noise(noisy_model, rolled):
    learner = Learner(noisy_model, CONFIG)
    learner.start()
    report = learner.learn(rolled[0], list(rolled[1].values()))
    assert 0 <= report.metrics["parity_max_abs"] < 1e-5
    assert report.metrics["kl"] < 1e-9
    assert report.metrics["clip_high"] == 0
    assert report.tokens == sum(group.tokens for group in rolled[0] if group.informative)


def test_broken_parity_stops_the_run(noisy_model, rolled):
    learner = Learner(noisy_model, CONFIG.model_copy(update={"temperature": 1.0}))
    learner.start()
    with pytest.raises(CookhouseError, match="disagree"):
        learner.learn(rolled[0], list(rolled[1].values()))


def test_gradient_does_not_depend_on_packing(noisy_model, rolled):
    """One row a pack, or all in one: the same update up to float noise (Adam's first step magnifies it)."""
    reference = update(noisy_model, rolled)
    for budget in (64, 200):
        assert np.abs(update(noisy_model, rolled, token_budget=budget) - reference).max() < 2e-4


def test_gradient_does_not_depend_on_ranks(noisy_model, rolled):
    """Each rank's gradient comes from its packs alone; their plain sum is the gradient of one rank."""

    class Rank(TorchEngine):
        def __init__(self, policy, rank, ranks):
            super().__init__(policy, CONFIG.trains)
            self.rank, self.world_size, self.gradient = rank, ranks, {}

        def step(self):
            found = {name: p.grad.clone() for name, p in self.module.named_parameters() if p.grad is not None}
            self.gradient = found
            return super().step()

    def gradient(rank, ranks):
        class OneOf(Learner):
            def build(self, policy):
                return Rank(policy, rank, ranks)

        learner = OneOf(noisy_model, CONFIG.model_copy(update={"token_budget": 150}))
        learner.start()
        learner.learn(rolled[0], list(rolled[1].values()))
        return learner.engine.gradient

    whole, parts = gradient(0, 1), [gradient(rank, 4) for rank in range(4)]
    for name, value in whole.items():
        assert torch.allclose(sum(part[name] for part in parts), value, atol=1e-6), name


def test_skipping_silent_groups_changes_nothing(noisy_model, rolled):
    """The group without advantages is left out of the computation but counts in the denominator."""
    groups, prompts, _ = rolled
    nudged = [
        group if group.informative else Group(group.rollouts, group.rewards, (1e-30,) * 4) for group in groups
    ]  # computed, weighs nothing
    assert np.abs(update(noisy_model, (nudged, prompts)) - update(noisy_model, rolled)).max() < 2e-4


def test_nothing_to_learn_moves_nothing(noisy_model, rolled):
    silent = [Group(group.rollouts, group.rewards, (0.0,) * 4) for group in rolled[0]]
    assert np.array_equal(update(noisy_model, (silent, rolled[1])), floats(rolled[2]))


def test_weights_prove_themselves(noisy_model, questions, rolled):
    """A worker loads what it is told to sample with; a tensor that changes in its memory is found before the next
    chunk."""
    weights = rolled[2]
    worker = RolloutWorker(noisy_model, CONFIG)
    chunk = PromptPlan(questions, CONFIG, seed=0).batch(0)[0]
    first, _ = worker.roll(chunk, weights)
    moved = Weights(weights.version, weights.layout, (floats(weights) + 0.01).view(np.uint8))
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
        {**tensors, "b": torch.zeros(2, dtype=torch.bfloat16)},
    ):
        assert flatten(0, other).version.fingerprint != base


def test_score_is_what_sampling_says(noisy_model, rolled):
    """RLPR's request: log-probabilities of given tokens after a prefix, at temperature 1."""
    config = CONFIG.model_copy(update={"temperature": 1.0})
    worker = RolloutWorker(noisy_model, config)
    worker.engine.load(rolled[2])
    prompts = [rolled[1][group.prompt.uid] for group in rolled[0]]
    sampled = worker.engine.generate(prompts[:3], n=4, max_new_tokens=8, temperature=1.0, seed=3)
    requests = [
        ScoreRequest(prompt, group[0].token_ids[:2], group[0].token_ids[2:])
        for prompt, group in zip(prompts, sampled, strict=False)
    ]
    for scores, group in zip(worker.engine.score(requests), sampled, strict=True):
        assert scores == pytest.approx(group[0].logprobs[2:], abs=1e-5)


def test_a_bf16_engine_proves_what_travelled(noisy_model, rolled):
    """Rounded before it is hashed: an engine in half the bytes holds exactly what was sent, and sees what was not."""
    network, processor = load_model(noisy_model, torch.bfloat16)
    engine = RolloutEngine(network, processor, reuse_vision=True)
    names = [entry.name for entry in rolled[2].layout]
    state = load_model(noisy_model)[0].state_dict()
    with pytest.raises(InfraError, match="bfloat16"):
        engine.load(rolled[2])
    sent = flatten(3, {name: state[name].to(torch.bfloat16) for name in names})
    assert engine.load(sent) == sent.version
    with torch.no_grad():
        next(engine.policy.llm.parameters())[0, 0] += 1
    assert engine.version() != sent.version


def test_tied_embeddings_travel_once_and_arrive(tmp_path, tiny_network, questions):
    network, processor = tiny_network(tmp_path / "tokenizer")
    language = network.config.language.model_copy(update={"tie_word_embeddings": True})
    tied = MiniCPMV(network.config.model_copy(update={"language": language}))
    save_model(tmp_path / "model", tied, processor)
    learner, worker = Learner(tmp_path / "model", CONFIG), RolloutWorker(tmp_path / "model", CONFIG)
    learner.start()
    version, weights = learner.publish()
    assert not [entry.name for entry in weights.layout if "lm_head" in entry.name]
    light, _ = worker.roll(PromptPlan(questions, CONFIG, seed=0).batch(0)[0], weights)
    assert {rollout.version for rollout in light.rollouts} == {version}
    assert worker.engine.policy.llm.lm_head.weight is worker.engine.policy.llm.model.embed_tokens.weight


def test_what_the_worker_scores_reaches_the_reward(noisy_model, questions, rolled):
    """The seat of a reward that needs more than text, here RLPR's: the mean probability of the reference behind the
    sampled answer, by the weights that sampled it."""

    def scorer(engine, prompt, tensors, completions):
        target = tuple(engine.processor.tokenizer(prompt.question.answer)["input_ids"])
        requests = [ScoreRequest(tensors, item.token_ids, target) for item in completions]
        return [float(np.exp(found).mean()) for found in engine.score(requests)]

    chunk = PromptPlan(questions, CONFIG, seed=0).batch(0)[0]
    worker = RolloutWorker(noisy_model, CONFIG, scorer)
    light, _ = worker.roll(chunk, rolled[2])
    scores = [rollout.score for rollout in light.rollouts]
    assert len(set(scores)) > 3
    assert all(0 < score < 1 for score in scores)
    members = light.rollouts[:4]
    judged = scored(members, [Judgement(1.0, 1.0, 0.0, "correct")] * 3 + [Judgement(0.0, 0.0, 0.0, "format")])
    assert [reward.total for reward in compose(judged, CONFIG.rewards)] == [*(1 + x for x in scores[:3]), 0.0]
    plain, _ = RolloutWorker(noisy_model, CONFIG).roll(chunk, rolled[2])
    assert {rollout.score for rollout in plain.rollouts} == {None}
