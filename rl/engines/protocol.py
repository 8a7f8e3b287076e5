"""The verbs of a rollout engine. Token ids in, token ids out; every reply names the version that made it, so nothing
else in the loop has to guess.

Weights are loaded whole, and an engine answers with the fingerprint of what it holds *now*: whoever asked compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rl.records import Completion, Mode, PolicyVersion, Sampling
from rl.transport import Weights
from rl.tree import PromptTensors


@dataclass(frozen=True)
class ScoreRequest:
    """Natural-log probabilities wanted: of ``target_ids`` after the prompt and ``prefix_ids`` (RLPR: a sampled
    thought)."""

    prompt: PromptTensors
    prefix_ids: tuple[int, ...]
    target_ids: tuple[int, ...]


class Engine(Protocol):
    """A policy that can be sampled and scored."""

    def generate(
        self, prompts: Sequence[PromptTensors], mode: Mode, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """``sampling.n`` completions per prompt. Log-probabilities are those of the sampled distribution, temperature
        applied. Equal inputs, weights and seed give equal completions."""
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Log-probabilities of each request's targets at temperature 1, float32, one prefill each."""
        ...

    def load(self, weights: Weights) -> PolicyVersion:
        """Copy weights in. Returns the step with the fingerprint of the engine's own memory afterwards."""
        ...

    def version(self) -> PolicyVersion:
        """What the engine holds at this moment; the fingerprint is computed, not remembered."""
        ...
