"""Batches: pure functions of seed and step, mode-pure chunks, every question once an epoch."""

from collections import Counter

import pytest

from pipelines.core.errors import DataError
from rl.prompts import PromptPlan
from rl.records import Question
from rl.settings import ReinforceConfig


def plan(seed=0, share=0.5, count=8, chunk=3, items=10):
    questions = [
        Question(f"{mode}{i}", "add", mode, "1", "number", ()) for mode in ("short", "long") for i in range(items)
    ]
    return PromptPlan(questions, ReinforceConfig(prompts_per_step=count, long_share=share, chunk=chunk), seed)


def test_half_of_the_prompts_are_long_and_chunks_are_mode_pure():
    chunks = plan().batch(3)
    assert Counter(prompt.mode for chunk in chunks for prompt in chunk.prompts) == {"long": 4, "short": 4}
    assert all(len({prompt.mode for prompt in chunk.prompts}) == 1 for chunk in chunks)
    assert chunks[0].prompts[0].mode == "long", "the slow ones start first"
    assert all(len(chunk.prompts) <= 3 for chunk in chunks)


def test_a_batch_depends_on_seed_and_step_only():
    assert plan().batch(7) == plan().batch(7)
    assert plan().batch(7) != plan(seed=1).batch(7)
    uids = [chunk.uid for step in range(5) for chunk in plan().batch(step)]
    seeds = [chunk.seed for step in range(5) for chunk in plan().batch(step)]
    assert len(set(uids)) == len(uids)
    assert len(set(seeds)) == len(seeds)


def test_every_question_once_an_epoch():
    asked = [prompt.question.key for step in range(5) for chunk in plan().batch(step) for prompt in chunk.prompts]
    assert set(Counter(asked).values()) == {2}  # 5 steps x 4 of a mode = 20 = 2 epochs of 10


def test_a_mode_without_questions_is_refused():
    questions = [Question("a", "add", "short", "1", "number", ())]
    config = ReinforceConfig(prompts_per_step=4, chunk=2)
    with pytest.raises(DataError, match="long-mode"):
        PromptPlan(questions, config, 0)
    assert PromptPlan(questions, config.model_copy(update={"long_share": 0.0}), 0).batch(0)
