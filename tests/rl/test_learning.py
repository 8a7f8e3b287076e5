"""The loop learns, and only for the right reason: three mutations of it must not.

The policy of ``conftest`` answers right about a third of the time in both modes; 24 updates must raise that clearly.
"""

import random
from dataclasses import replace

import numpy as np
import pytest

import rl.algorithm
import rl.controller
from rl.controller import Controller, Watch
from rl.crew.local import LocalCrew
from rl.prompts import PromptPlan
from rl.records import Judgement
from rl.settings import ReinforceConfig

CONFIG = ReinforceConfig(
    steps=24,
    prompts_per_step=16,
    group=8,
    chunk=8,
    lr=7e-4,
    max_new_tokens_short=3,
    max_new_tokens_long=8,
    checkpoint_every=10,
)


def curve(noisy_model, questions, config=CONFIG, crew_class=LocalCrew):
    """Accuracy over both modes by update, and the counts of its flow afterwards."""
    rows = []
    crew = crew_class(noisy_model, config)
    crew.start(0, None)
    plan = PromptPlan(questions, config, seed=0)
    watch = Watch(lambda _, values: rows.append(values), lambda *_: None, lambda _: None)
    try:
        return rows, Controller(crew, plan, config, watch).run(0)
    finally:
        crew.close()


def rise(rows) -> float:
    right = [(row["accuracy/short"] + row["accuracy/long"]) / 2 for row in rows]
    return float(np.mean(right[-4:]) - np.mean(right[:3]))


def test_reward_rises(noisy_model, questions):
    rows, flow = curve(noisy_model, questions)
    assert rise(rows) > 0.12
    for mode in ("short", "long"):
        assert np.mean([row[f"accuracy/{mode}"] for row in rows[-4:]]) > np.mean(
            [row[f"accuracy/{mode}"] for row in rows[:3]]
        )
    assert flow.counts["dispatched"] == 24 * 16
    assert flow.balanced()
    assert [step for step, row in enumerate(rows) if "parity_max_abs" in row] == [0, 10, 20], (
        "on policy after each drain"
    )
    assert {row["staleness"] for row in rows} == {0.0, 1.0}


def test_shuffled_advantages_do_not_learn(noisy_model, questions, monkeypatch):
    draw = random.Random(0)

    def shuffled(rewards):
        values = list(rl.algorithm.grpo(rewards))
        draw.shuffle(values)
        return values

    monkeypatch.setitem(rl.controller.ESTIMATORS, "grpo", shuffled)
    assert rise(curve(noisy_model, questions)[0]) < 0.08


def test_rewards_late_by_one_sample_do_not_learn(noisy_model, questions):
    class Late(LocalCrew):
        def judge(self, cases):
            return super().judge([cases[-1], *cases[:-1]])

    assert rise(curve(noisy_model, questions, crew_class=Late)[0]) < 0.08


def test_weights_that_do_not_arrive_are_found(noisy_model, questions):
    """A worker that says it loaded, but did not."""

    class Deaf(LocalCrew):
        def publish(self):
            published = super().publish()
            self.worker.engine.load = lambda weights: replace(
                weights.version, fingerprint=self.worker.engine.version().fingerprint
            )
            return published

    with pytest.raises(Exception, match="does not hold the published weights"):
        curve(noisy_model, questions, replace_steps(2), crew_class=Deaf)


def replace_steps(steps):
    return CONFIG.model_copy(update={"steps": steps})


def test_no_information_stops_with_counts(noisy_model, questions):
    class Wrong(LocalCrew):
        def judge(self, cases):
            return [Judgement(0.0, 1.0, 0.0, "wrong") for _ in cases]

    with pytest.raises(Exception, match="10 batches in a row"):
        curve(noisy_model, questions, replace_steps(12), crew_class=Wrong)
