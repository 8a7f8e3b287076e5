"""What samples: the learner's own network code, in the rollout worker's process. Token ids in, token ids out. Prompts are
prefilled once for their n rollouts; pictures are embedded once per prompt and, when nothing before the language model
trains, go on to the learner. Another engine brings the same verbs: ``prepare``, ``generate``, ``score``, ``load``,
``version``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from model.decode import Completion, generate
from model.minicpmv import MiniCPMV
from model.pack import Encoded
from model.processor import Processor
from rl.algorithm import token_logprobs
from rl.policy import Policy
from rl.records import PolicyVersion
from rl.transport import Entry, Weights, fingerprint_of, load_into
from rl.tree import Branch, PromptTensors, tree_pack

NOTHING = PolicyVersion(-1, "nothing loaded")


@dataclass(frozen=True)
class ScoreRequest:
    """Natural-log probabilities wanted: of ``target_ids`` after the prompt and ``prefix_ids`` (RLPR: a sampled
    thought)."""

    prompt: PromptTensors
    prefix_ids: tuple[int, ...]
    target_ids: tuple[int, ...]


class RolloutEngine:
    """``loaded`` is what it was last given; ``version()`` is what it holds, computed and not remembered: whoever asked
    compares."""

    def __init__(
        self, network: MiniCPMV, processor: Processor, *, reuse_vision: bool, device: torch.device | str = "cpu"
    ) -> None:
        self.policy, self.processor, self.reuse_vision = Policy.adopt(network).to(device), processor, reuse_vision
        self.loaded = NOTHING
        self._layout: tuple[Entry, ...] = ()

    def prepare(self, uids: Sequence[str], encoded: Sequence[Encoded]) -> list[PromptTensors]:
        """Prompts ready to be sampled; their pictures are embedded here if they are to be reused."""
        rows = self.policy.visual_rows(encoded) if encoded and self.reuse_vision else [None] * len(encoded)
        return [PromptTensors.of(uid, prompt, visual) for uid, prompt, visual in zip(uids, encoded, rows, strict=True)]

    def generate(
        self, prompts: Sequence[PromptTensors], *, n: int, max_new_tokens: int, temperature: float, seed: int
    ) -> list[list[Completion]]:
        """``n`` completions per prompt of ``prepare``. Temperature is the only change to the distribution (no top-p, no
        top-k), so that the log-probabilities are those of the policy. Equal inputs, weights and seed give equal
        completions."""
        samples = [prompt.encoded for prompt in prompts if prompt.encoded is not None]
        rows = [prompt.visual for prompt in prompts if prompt.visual is not None]
        with self.policy.giving(rows) if rows else nullcontext():
            return generate(
                self.policy,
                samples,
                n=n,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                eos_ids=self.processor.ids.eos,
                batch_rows=len(samples) * n,  # one batch: the rows given are those of all prompts
            )

    @torch.no_grad()
    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Log-probabilities of each request's targets at temperature 1, float32. One pass over all requests: each is a
        tree with a single branch."""
        if not requests:
            return []
        groups = []
        for request in requests:
            ids = (*request.prefix_ids, *request.target_ids)
            groups.append([Branch(ids, (0.0,) * len(ids), 0.0)])
        tree = tree_pack([request.prompt for request in requests], groups).to(self.policy.device)
        supervised = self.policy(tree)
        logprobs, _ = token_logprobs(supervised.logits, supervised.targets, temperature=1.0)
        spans = logprobs.split([len(branch.token_ids) for (branch,) in groups])
        return [span[len(one.prefix_ids) :].tolist() for one, span in zip(requests, spans, strict=True)]

    def load(self, weights: Weights) -> PolicyVersion:
        """Copy weights in. Returns the step with the fingerprint of the engine's own memory afterwards."""
        load_into(self.policy, weights)
        self._layout, self.loaded = weights.layout, weights.version
        return self.version()

    def version(self) -> PolicyVersion:
        if not self._layout:
            return NOTHING
        return PolicyVersion(self.loaded.step, fingerprint_of(self.policy, self._layout))
