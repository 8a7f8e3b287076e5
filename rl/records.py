"""The frozen records that travel between the parts of the loop, without torch or Ray. Every rollout says which weights
sampled it, and every reward says why it has its value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["short", "long"]
Finish = Literal["stop", "length"]
Verdict = Literal["correct", "wrong", "format", "timeout", "error"]
VERDICTS: tuple[Verdict, ...] = ("correct", "wrong", "format", "timeout", "error")


@dataclass(frozen=True)
class PolicyVersion:
    """The weights a token was sampled with: optimizer steps taken, and a digest of the tensors themselves."""

    step: int
    fingerprint: str


@dataclass(frozen=True)
class Question:
    """One question item in one mode. ``messages`` is the user's side of the sample (JSON form of the shards);
    ``ref`` names the shard sample that holds its pictures, None for text alone."""

    key: str
    kind: str
    mode: Mode
    answer: str
    verifier: str
    messages: tuple[dict[str, Any], ...]
    ref: Any = None


@dataclass(frozen=True)
class Prompt:
    """One use of a question in a batch: all its rollouts share its mode, so groups are mode-pure."""

    uid: str
    question: Question

    @property
    def mode(self) -> Mode:
        return self.question.mode


@dataclass(frozen=True)
class Rollout:
    """Answer ``index`` of a prompt: ids including the end token where it was reached, natural-log probabilities under the
    distribution that was sampled, the text (for rewards and logs only, never tokenised again), the weights, and what the
    worker's own scorer says of it (None without one)."""

    prompt: Prompt
    index: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish: Finish
    version: PolicyVersion
    score: float | None = None

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.logprobs):
            raise ValueError(f"{len(self.token_ids)} tokens but {len(self.logprobs)} log-probabilities")


@dataclass(frozen=True)
class Judgement:
    """What the verifiable part of the reward says of one rollout (paper 5.2): accuracy in [0, 1] (between only as partial
    credit of a wrong answer), format in {0, 1}, repetition in {-1, 0}, and the verdict that explains them."""

    accuracy: float
    format: float
    repetition: float
    verdict: Verdict


@dataclass(frozen=True)
class Reward:
    """Total of equation 1 with the terms it was made of."""

    total: float
    judgement: Judgement


@dataclass(frozen=True)
class Group:
    """All rollouts of one prompt with their rewards and advantages: what flows to the learner. ``tensors`` stays opaque:
    the crew's handle of the prompt's tensors, which go from worker to learner and never through the loop."""

    rollouts: tuple[Rollout, ...]
    rewards: tuple[Reward, ...]
    advantages: tuple[float, ...]
    tensors: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        counts = f"{len(self.rollouts)} rollouts, {len(self.rewards)} rewards, {len(self.advantages)} advantages"
        if not len(self.rollouts) == len(self.rewards) == len(self.advantages) > 0:
            raise ValueError(f"no group: {counts}")

    @property
    def prompt(self) -> Prompt:
        return self.rollouts[0].prompt

    @property
    def tokens(self) -> int:
        return sum(len(rollout.token_ids) for rollout in self.rollouts)

    @property
    def version(self) -> PolicyVersion:
        """The weights of its oldest rollout."""
        return min((rollout.version for rollout in self.rollouts), key=lambda version: version.step)

    @property
    def informative(self) -> bool:
        """False when every rollout earned the same: its gradient is zero, so computing it would be waste."""
        return any(advantage != 0.0 for advantage in self.advantages)


@dataclass(frozen=True)
class LearnReport:
    """One update of the learner: metrics by name (``loss``, ``entropy``, ``clip_low`` ...), trained tokens, seconds."""

    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
