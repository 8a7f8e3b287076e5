"""The engine that decodes with the learner's own network, in the worker's process. Prompts are prefilled once for their
n completions; pictures are embedded once per prompt and, when nothing before the language model trains, go on to the
learner.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch

from model.decode import generate
from model.minicpmv import MiniCPMV
from model.pack import Encoded
from model.processor import Processor
from rl.algorithm import token_logprobs
from rl.engines.protocol import ScoreRequest
from rl.policy import Policy
from rl.records import Completion, Mode, PolicyVersion, Sampling
from rl.transport import Entry, Weights, fingerprint_of, load_into
from rl.tree import Branch, PromptTensors, tree_pack

NOTHING = PolicyVersion(-1, "nothing loaded")


class EmbeddedEngine:
    """``Engine`` over ``model.decode.generate``. ``loaded`` is what it was last given; ``version()`` is what it
    holds."""

    def __init__(self, network: MiniCPMV, processor: Processor, *, reuse_vision: bool) -> None:
        self.policy, self.processor, self.reuse_vision = Policy.adopt(network), processor, reuse_vision
        self.loaded: PolicyVersion | None = None
        self._layout: tuple[Entry, ...] = ()

    def prepare(self, uids: Sequence[str], encoded: Sequence[Encoded]) -> list[PromptTensors]:
        """Prompts ready to be sampled; their pictures are embedded here if they are to be reused."""
        if not encoded or not self.reuse_vision:
            return [PromptTensors.of(uid, prompt) for uid, prompt in zip(uids, encoded, strict=True)]
        rows = self.policy.visual_rows(encoded)
        return [PromptTensors.of(uid, prompt, visual) for uid, prompt, visual in zip(uids, encoded, rows, strict=True)]

    def generate(
        self, prompts: Sequence[PromptTensors], mode: Mode, sampling: Sampling, seed: int
    ) -> list[list[Completion]]:
        """See the protocol. Prompts must come from ``prepare``: the prefill needs their shape."""
        version = self.loaded or NOTHING
        samples = [prompt.encoded for prompt in prompts if prompt.encoded is not None]
        rows = [prompt.visual for prompt in prompts if prompt.visual is not None]
        with self.policy.giving(rows) if rows else nullcontext():
            sampled = generate(
                self.policy,
                samples,
                n=sampling.n,
                max_new_tokens=sampling.max_new_tokens(mode),
                temperature=sampling.temperature,
                seed=seed,
                eos_ids=self.processor.ids.eos,
                batch_rows=len(samples) * sampling.n,  # one batch: the rows given are those of all prompts
            )
        return [
            [
                Completion(
                    item.token_ids,
                    item.logprobs,
                    self.processor.decode(item.token_ids),
                    item.finish,
                    ((0, len(item.token_ids), version),),
                )
                for item in group
            ]
            for group in sampled
        ]

    @torch.no_grad()
    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """One pass over all requests: each is a tree with a single branch."""
        if not requests:
            return []
        groups = []
        for request in requests:
            ids = (*request.prefix_ids, *request.target_ids)
            groups.append([Branch(ids, (0.0,) * len(ids), 0.0)])
        tree = tree_pack([request.prompt for request in requests], groups)
        supervised = self.policy(tree)
        logprobs, _ = token_logprobs(supervised.logits, supervised.targets, temperature=1.0)
        scores, start = [], 0
        for request, (branch,) in zip(requests, groups, strict=True):
            stop = start + len(branch.token_ids)
            scores.append(logprobs[stop - len(request.target_ids) : stop].tolist())
            start = stop
        return scores

    def load(self, weights: Weights) -> PolicyVersion:
        """See the protocol; the answer is computed from this engine's own tensors."""
        load_into(self.policy, weights)
        self._layout = weights.layout
        self.loaded = weights.version
        return self.version()

    def version(self) -> PolicyVersion:
        if self.loaded is None:
            return NOTHING
        return PolicyVersion(self.loaded.step, fingerprint_of(self.policy, self._layout))
