"""The loop, on one page. It holds no weights and no tensors: it asks, compares versions, counts, and passes handles on.

    roll batch k+1 with version k   |  overlap 1: while the learner works on batch k, so one version old
    learn batch k -> version k+1    |
    publish version k+1, prove it on every worker at its next chunk

With ``overlap`` 0, and at every checkpoint, the next batch waits for the new version. Because that rhythm depends on
step numbers only, never on timing, a run resumed from a checkpoint continues with exactly the numbers of an unbroken
one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.core.errors import DataError
from rl.advantage import ESTIMATORS
from rl.crew.protocol import Crew, Handle, Published, Rolled
from rl.flow import GroupBuffer, Ledger
from rl.metrics import batch_metrics
from rl.prompts import PromptPlan
from rl.records import Group, Judgement, Rollout
from rl.rewards.compose import Weights, compose
from rl.rewards.verify import Case
from rl.settings import ReinforceConfig

_EMPTY_LIMIT = 10  # batches in a row without one group to learn from: the run teaches nothing and says so


@dataclass(frozen=True)
class Watch:
    """What the outside wants to hear: metrics after every step, groups for samples, and when to save a checkpoint."""

    metrics: Callable[[int, dict[str, float]], None]
    groups: Callable[[int, list[Group]], None]
    checkpoint: Callable[[int], None]


class Controller:
    """One seed of one run: ``run(first)`` goes from update ``first`` to ``config.steps``."""

    def __init__(self, crew: Crew, plan: PromptPlan, config: ReinforceConfig, watch: Watch) -> None:
        self.crew, self.plan, self.config, self.watch = crew, plan, config, watch
        self.ledger, self.buffer = Ledger(), GroupBuffer(config.overlap)
        self.empty = 0

    def run(self, first: int) -> Ledger:
        """Raises InfraError for machines that fail beyond repair, DataError when nothing can be learned."""
        published = self.crew.publish()
        rolled = self._roll(first, published).result() if first < self.config.steps else None
        for step in range(first, self.config.steps):
            begun = time.perf_counter()
            assert rolled is not None
            groups = self._groups(step, rolled)
            last, saving = step + 1 == self.config.steps, (step + 1) % self.config.checkpoint_every == 0
            ahead = bool(self.config.overlap) and not last and not saving
            pending = self._roll(step + 1, published) if ahead else None
            learning = self.crew.learn(groups, rolled.tensors)
            following = pending.result() if pending else None
            report = learning.result()
            published = self.crew.publish()
            if following is None and not last:
                following = self._roll(step + 1, published).result()
            values = batch_metrics(groups, rolled, report)
            values["seconds/step"] = time.perf_counter() - begun
            self.watch.metrics(step, values)
            self.watch.groups(step, groups)
            if saving and not last:
                self.watch.checkpoint(step + 1)
            rolled = following
        assert self.ledger.balanced(), self.ledger.counts
        assert not self.ledger.in_flight, self.ledger.counts
        return self.ledger

    def _roll(self, step: int, published: Published) -> Handle[Rolled]:
        chunks = self.plan.batch(step)
        for chunk in chunks:
            for prompt in chunk.prompts:
                self.ledger.dispatch(prompt.uid)
        return self.crew.roll(chunks, published)

    def _judge(self, rolled: Rolled) -> list[list[Judgement]]:
        """Judgements of every rollout, from text; one call, so that the judge's process is asked once a batch."""
        cases = [self._case(rollout, index) for rollout in rolled.rollouts for index in range(len(rollout.completions))]
        answers = iter(self.crew.judge(cases))
        return [[next(answers) for _ in rollout.completions] for rollout in rolled.rollouts]

    def _case(self, rollout: Rollout, index: int) -> Case:
        question, completion, rule = rollout.prompt.question, rollout.completions[index], self.config.rewards
        return Case(
            question.answer,
            question.verifier,
            question.mode,
            completion.text,
            completion.finish,
            rule.window,
            rule.limit,
            rule.partial,
        )

    def _groups(self, step: int, rolled: Rolled) -> list[Group]:
        """Rewards and advantages of a batch; every prompt's outcome goes to the ledger."""
        rule = self.config.rewards
        weights = Weights(rule.accuracy, rule.format, rule.repetition)
        for rollout, judged in zip(rolled.rollouts, self._judge(rolled), strict=True):
            rewards = compose(judged, weights)
            advantages = ESTIMATORS[self.config.advantage]([reward.total for reward in rewards])
            self.buffer.add(Group(rollout, rewards, tuple(float(value) for value in advantages)))
        fresh, stale = self.buffer.take(step)
        for group in stale:
            self.ledger.close(group.rollout.prompt.uid, "stale")
        for group in fresh:
            self.ledger.close(group.rollout.prompt.uid, "trained" if group.informative else "skipped")
        for uid in rolled.failures:
            self.ledger.close(uid, "failed")
        self.empty = 0 if any(group.informative for group in fresh) else self.empty + 1
        if self.empty >= _EMPTY_LIMIT:
            raise DataError(
                f"{self.empty} batches in a row had no prompt whose completions differ in reward",
                where=f"step {step}; so far {dict(self.ledger.counts)}",
                why=f"failures: {list(rolled.failures.values())[:3]}"
                if rolled.failures
                else "every group got one reward",
                do="give questions the model answers sometimes but not always, or longer max_new_tokens",
            )
        return fresh
