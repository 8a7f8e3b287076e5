"""What an RL step is made of, as one frozen record: the stage's configuration, read as it is by every part of the
loop."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.core.cpus import FOLLOWS, MOST_THREADS, Room
from pipelines.core.executor import Demand, Resources
from pipelines.core.identity import Identity, Record, Runtime, StageConfig
from rl.records import Mode


class RewardSettings(Record):
    """Factors of equation 1, partial credit for a line that was read in part (0 = all or nothing), the repetition rule
    (words, times), and the seconds one verifier call may take."""

    accuracy: float = 1.0
    format: float = 1.0
    repetition: float = 1.0
    partial: float = Field(default=0.5, ge=0, lt=1)
    window: int = Field(default=10, ge=1)
    limit: int = Field(default=6, ge=2)
    deadline: Runtime[float] = Field(default=2.0, gt=0)


class ReinforceConfig(StageConfig):
    """GRPO on verifiable questions, half of the prompts in long mode. Learning rate per update, lengths in tokens.

    ``overlap`` 1 rolls the next batch while the learner works, so its completions are one version old; 0 waits.
    ``checkpoint_every`` updates the learner's state is saved and the pipeline drained, which makes resuming exact in
    both cases. ``chunk`` prompts are decoded together: it decides rounding, so it is identity; the number of workers is
    not. Their threads decide last digits too, as everywhere; they follow the machine unless they are given. GPUs are of
    each rollout worker and each learner; a part of one is shared.
    """

    seeds: Identity[tuple[int, ...]] = (0,)
    steps: Identity[int] = Field(default=40, ge=0)
    prompts_per_step: Identity[int] = Field(default=24, ge=1)
    group: Identity[int] = Field(default=8, ge=2)
    chunk: Identity[int] = Field(default=6, ge=1)
    long_share: Identity[float] = Field(default=0.5, ge=0, le=1)
    question_kinds: Identity[tuple[str, ...]] = ()
    families: Identity[tuple[str, ...]] = ("card",)
    max_new_tokens_short: Identity[int] = Field(default=24, ge=1)
    max_new_tokens_long: Identity[int] = Field(default=96, ge=1)
    temperature: Identity[float] = Field(default=1.0, gt=0)
    advantage: Identity[Literal["grpo", "dr_grpo", "rloo"]] = "grpo"
    clip_low: Identity[float] = Field(default=0.2, gt=0, lt=1)
    clip_high: Identity[float] = Field(default=0.28, gt=0)
    minibatches: Identity[int] = Field(default=1, ge=1)
    lr: Identity[float] = Field(default=1e-4, gt=0)
    warmup: Identity[int] = Field(default=2, ge=0)
    grad_clip: Identity[float] = Field(default=1.0, gt=0)
    weight_decay: Identity[float] = Field(default=0.0, ge=0)
    trains: Identity[tuple[Literal["language", "resampler", "vision"], ...]] = ("language",)
    rewards: Identity[RewardSettings] = RewardSettings()
    overlap: Identity[Literal[0, 1]] = 1
    checkpoint_every: Identity[int] = Field(default=20, ge=1)
    token_budget: Identity[int] = Field(default=1024, ge=64)
    learners: Identity[int] = Field(default=1, ge=1)
    parity_limit: Runtime[float] = Field(default=1e-4, gt=0)
    rollout_workers: Runtime[int] = Field(default=FOLLOWS, ge=0)
    rollout_threads: Runtime[int] = Field(default=FOLLOWS, ge=0)
    rollout_cpus: Runtime[float] = Field(default=FOLLOWS, ge=0)
    rollout_gpus: Runtime[float] = Field(default=0.0, ge=0)
    learner_threads: Runtime[int] = Field(default=FOLLOWS, ge=0)
    learner_cpus: Runtime[float] = Field(default=FOLLOWS, ge=0)
    learner_gpus: Runtime[float] = Field(default=0.0, ge=0)
    reward_cpus: Runtime[float] = Field(default=0.1, gt=0)
    deadline: Runtime[float] = Field(default=300.0, gt=0)

    @model_validator(mode="after")
    def _sensible(self) -> ReinforceConfig:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be different numbers, at least one, got {self.seeds}")
        if "language" not in self.trains:
            raise ValueError("trains must hold 'language': it is the policy")
        return self

    def sized(self, room: Room) -> Self:
        """Half of the CPUs for the learners, which an update waits for; the rest for rollout workers, no more than a batch
        has chunks. On two CPUs the processes take turns. Reservations add up to no more than there is, and the reward
        worker finds place beside any of them on a node."""
        learner = self.learner_threads or room.threads(2 * self.learners)
        rest = room.cpus - self.learners * learner
        workers = self.rollout_workers or min(self.chunks, max(min(2, room.cpus), rest))
        rollout = self.rollout_threads or max(1, min(rest // workers, room.node, MOST_THREADS))
        share = min(1.0, (room.cpus - self.reward_cpus) / (workers * rollout + self.learners * learner))
        reserved = [math.floor(100 * min(n * share, room.node - self.reward_cpus)) / 100 for n in (rollout, learner)]
        return self.model_copy(
            update={
                "rollout_workers": workers,
                "rollout_threads": rollout,
                "rollout_cpus": self.rollout_cpus or reserved[0],
                "learner_threads": learner,
                "learner_cpus": self.learner_cpus or reserved[1],
            }
        )

    def demand(self) -> Demand:
        """Rollout workers and learners are busy at the same time, whatever share of CPUs Ray reserves for them."""
        rollouts = Resources(self.rollout_threads, self.rollout_gpus).times(self.rollout_workers)
        return Demand(rollouts.plus(Resources(self.learner_threads, self.learner_gpus).times(self.learners)))

    def asks(self) -> str:
        rollouts = f"rollout workers {self.rollout_workers}, threads of each {self.rollout_threads}"
        return f"{rollouts}; learners {self.learners}, threads of each {self.learner_threads}"

    @property
    def chunks(self) -> int:
        """Chunks of one batch (``PromptPlan``): so many rollout workers can be busy at once."""
        return math.ceil(self.longs / self.chunk) + math.ceil((self.prompts_per_step - self.longs) / self.chunk)

    @property
    def longs(self) -> int:
        """Long-mode prompts of a batch."""
        return round(self.long_share * self.prompts_per_step)

    def bundles(self) -> list[Resources]:
        """What each process reserves: the rollout workers, the reward worker, the learners."""
        return [
            *[Resources(self.rollout_cpus, self.rollout_gpus)] * self.rollout_workers,
            Resources(self.reward_cpus),
            *[Resources(self.learner_cpus, self.learner_gpus)] * self.learners,
        ]

    def max_new_tokens(self, mode: Mode) -> int:
        return self.max_new_tokens_long if mode == "long" else self.max_new_tokens_short

    @property
    def reuses_vision(self) -> bool:
        """Nothing before the language model trains: pictures are embedded once per prompt, by the rollout worker."""
        return not {"vision", "resampler"} & set(self.trains)
