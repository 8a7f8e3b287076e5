"""The frozen records that travel between the parts of the loop. No torch, no Ray: a record can be pickled, logged,
compared.

Every completion says which weights sampled it, and every reward says why it has its value: nothing else in the
system has to guess either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["short", "long"]
Finish = Literal["stop", "length", "aborted", "error"]
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
    """One use of a question in a batch: all ``n`` completions of a prompt share its mode, so groups are mode-pure."""

    uid: str
    question: Question

    @property
    def mode(self) -> Mode:
        return self.question.mode


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn. Temperature is the only change to the distribution (no top-p, no top-k), so that the
    log-probabilities of the sampler are those of the policy; 0 means greedy."""

    n: int
    temperature: float
    max_new_tokens_short: int
    max_new_tokens_long: int

    def max_new_tokens(self, mode: Mode) -> int:
        return self.max_new_tokens_long if mode == "long" else self.max_new_tokens_short


@dataclass(frozen=True)
class Completion:
    """One sampled answer: ids including the end token where it was reached, natural-log probabilities under the
    distribution that was sampled, the text (for rewards and logs only, never tokenised again), and the weights."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish: Finish
    spans: tuple[tuple[int, int, PolicyVersion], ...]

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.logprobs):
            raise ValueError(f"{len(self.token_ids)} tokens but {len(self.logprobs)} log-probabilities")
        covered = 0
        for start, stop, _ in self.spans:
            if start != covered or stop < start:
                raise ValueError(f"spans {self.spans} do not cover the {len(self.token_ids)} tokens in order")
            covered = stop
        if covered != len(self.token_ids):
            raise ValueError(f"spans end at {covered}, the completion has {len(self.token_ids)} tokens")


@dataclass(frozen=True)
class Rollout:
    """The completions of one prompt, all sampled with one version."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    version: PolicyVersion

    @property
    def tokens(self) -> int:
        return sum(len(completion.token_ids) for completion in self.completions)


@dataclass(frozen=True)
class Judgement:
    """What the verifiable part of the reward says of one completion (paper 5.2): accuracy in [0, 1] (below 1 only as
    partial credit of a wrong answer), format in {0, 1}, repetition in {-1, 0}, the verdict that explains them, and
    the seconds it took."""

    accuracy: float
    format: float
    repetition: float
    verdict: Verdict
    seconds: float = 0.0


@dataclass(frozen=True)
class Reward:
    """Total of equation 1 with the terms it was made of."""

    total: float
    judgement: Judgement
    preference: float = 0.0


@dataclass(frozen=True)
class Group:
    """One prompt with its judged completions and their advantages: what the learner trains on."""

    rollout: Rollout
    rewards: tuple[Reward, ...]
    advantages: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = {len(self.rollout.completions), len(self.rewards), len(self.advantages)}
        if len(counts) != 1:
            raise ValueError(
                f"group {self.rollout.prompt.uid}: {len(self.rollout.completions)} completions, "
                f"{len(self.rewards)} rewards, {len(self.advantages)} advantages"
            )

    @property
    def informative(self) -> bool:
        """False when every completion earned the same: its gradient is zero, so computing it would be waste."""
        return any(advantage != 0.0 for advantage in self.advantages)


@dataclass(frozen=True)
class LearnReport:
    """One update of the learner: metrics by name (``loss``, ``entropy``, ``clip_low`` ...), trained tokens, seconds."""

    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
