"""The loop, on one page. It holds no weights and no tensors: it asks, compares versions, counts, and passes groups on.

    roll batch k+1 with version k   |  overlap 1: while the learner works on batch k, so one version old
    learn batch k -> version k+1    |
    publish version k+1, prove it on every worker at its next chunk

What flows is the group (``rl.flow``), judged and rewarded while others are still sampled. With ``overlap`` 0, and at every
checkpoint, the next batch waits for the new version. That rhythm depends on step numbers only, never on timing, so a run
resumed from a checkpoint continues with exactly the numbers of an unbroken one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.core.errors import DataError
from rl.algorithm import ESTIMATORS
from rl.crew.protocol import Crew, Published
from rl.flow import Flow
from rl.metrics import Rolling, batch_metrics
from rl.prompts import PromptPlan
from rl.records import Group, Rollout
from rl.rewards.compose import compose, scored
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
        self.flow = Flow(config.group, config.prompts_per_step, config.overlap)
        self.empty = 0

    def run(self, first: int) -> Flow:
        """Raises InfraError for machines that fail beyond repair, DataError when nothing can be learned."""
        published = self.crew.publish()
        following: Rolling | None = None
        for step in range(first, self.config.steps):
            begun = time.perf_counter()
            if following is None:
                self._dispatch(step, published)
            rolling = following or self._collect()
            groups = self._take(step, rolling)
            last, saving = step + 1 == self.config.steps, (step + 1) % self.config.checkpoint_every == 0
            ahead = bool(self.config.overlap) and not last and not saving
            if ahead:
                self._dispatch(step + 1, published)
            learning = self.crew.learn(groups)
            following = self._collect() if ahead else None
            report = learning()
            published = self.crew.publish()
            values = batch_metrics(groups, rolling, report)
            values["seconds/step"] = time.perf_counter() - begun
            self.watch.metrics(step, values)
            self.watch.groups(step, groups)
            if saving and not last:
                self.watch.checkpoint(step + 1)
        assert self.flow.balanced(), self.flow.counts
        assert not self.flow.in_flight, self.flow.counts
        return self.flow

    def _dispatch(self, step: int, published: Published) -> None:
        chunks = self.plan.batch(step)
        for chunk in chunks:
            for prompt in chunk.prompts:
                self.flow.dispatch(prompt)
        self.crew.submit(chunks, published)

    def _collect(self) -> Rolling:
        """Wait until every prompt in flight has failed or is a judged group."""
        begun, replaced = time.perf_counter(), self.crew.replaced
        failures: dict[str, str] = {}
        while self.flow.unjudged:
            rolled, tensors = self.crew.collect()
            for uid, reason in rolled.failures.items():
                failures[uid] = reason
                self.flow.end(uid, "failed")
            self._reward([members for one in rolled.rollouts if (members := self.flow.add(one))], tensors)
        return Rolling(failures, time.perf_counter() - begun, self.crew.replaced - replaced)

    def _reward(self, closed: list[tuple[Rollout, ...]], tensors: Any) -> None:
        """Closed groups to judged ones: verdicts from text (one call for all of them), then the terms over the group."""
        answers = iter(self.crew.judge([self._case(rollout) for members in closed for rollout in members]))
        for members in closed:
            judged = scored(members, [next(answers) for _ in members])
            rewards = compose(judged, self.config.rewards)
            advantages = ESTIMATORS[self.config.advantage]([reward.total for reward in rewards])
            self.flow.put(Group(members, rewards, tuple(float(value) for value in advantages), tensors))

    def _case(self, rollout: Rollout) -> Case:
        question, rule = rollout.prompt.question, self.config.rewards
        asked = (question.answer, question.verifier, question.mode)
        return Case(*asked, rollout.text, rollout.finish, rule.window, rule.limit, rule.partial)

    def _take(self, step: int, rolling: Rolling) -> list[Group]:
        """The groups of update ``step``."""
        groups = self.flow.take(step)
        self.empty = 0 if any(group.informative for group in groups) else self.empty + 1
        if self.empty >= _EMPTY_LIMIT:
            raise DataError(
                f"{self.empty} batches in a row had no prompt whose rollouts differ in reward",
                where=f"step {step}; so far {dict(self.flow.counts)}",
                why=f"failures {list(rolling.failures.values())[:3]}; every group that came got one reward throughout",
                do="give questions the model answers sometimes but not always, or longer max_new_tokens",
            )
        return groups
