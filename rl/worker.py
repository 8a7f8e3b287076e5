"""A rollout worker: an engine, the processor, and the pictures of its prompts. A plain class; ``rl.crew.ray`` gives it a
process. It loads weights only when a chunk asks for another version, and proves with every chunk what it sampled with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from model.checkpoint import load_model
from model.decode import Completion
from model.pack import Encoded
from pipelines.shards.read import decode_parts, read_sample
from rl.crew.protocol import Rolled
from rl.engine import RolloutEngine
from rl.prompts import Chunk
from rl.records import Prompt, Rollout
from rl.settings import ReinforceConfig
from rl.transport import Weights, prove
from rl.tree import PromptTensors

Scorer = Callable[[RolloutEngine, Prompt, PromptTensors, Sequence[Completion]], Sequence[float | None]]
"""A reward that needs more than text: scores of one prompt's completions, by the weights that sampled them and with the
pictures at hand. They go with the rollouts to the group's reward (``rl.rewards.compose``)."""


class RolloutWorker:
    """``roll`` is all it does."""

    def __init__(self, model_dir: Path, config: ReinforceConfig, scorer: Scorer | None = None) -> None:
        self.config, self.scorer = config, scorer
        network, self.processor = load_model(model_dir)
        device = "cuda" if config.rollout_gpus else "cpu"
        self.engine = RolloutEngine(network, self.processor, reuse_vision=config.reuses_vision, device=device)

    def roll(self, chunk: Chunk, weights: Weights) -> tuple[Rolled, list[PromptTensors]]:
        """Sample every prompt of the chunk with exactly these weights. Raises InfraError when memory does not hold what
        was loaded (a corrupted tensor): the caller replaces the worker. A prompt that cannot be read (a bad picture)
        fails alone, with its reason; anything else that goes wrong is the worker's failure and raises."""
        held = self.engine.version()
        prove(self.engine.loaded, held, "the worker's memory")
        if held != weights.version:
            prove(weights.version, self.engine.load(weights), "the worker")
        failures: dict[str, str] = {}
        readable: list[Prompt] = []
        encoded = []
        for prompt in chunk.prompts:
            try:
                encoded.append(self._encode(prompt))
                readable.append(prompt)
            except Exception as error:  # data, not machine: this prompt fails everywhere
                failures[prompt.uid] = f"{type(error).__name__}: {error}"
        tensors = self.engine.prepare([prompt.uid for prompt in readable], encoded)
        sampled = self.engine.generate(
            tensors,
            n=self.config.group,
            max_new_tokens=self.config.max_new_tokens(chunk.prompts[0].mode),
            temperature=self.config.temperature,
            seed=chunk.seed,
        )
        rollouts: list[Rollout] = []
        for prompt, shape, completions in zip(readable, tensors, sampled, strict=True):
            scores = self.scorer(self.engine, prompt, shape, completions) if self.scorer else [None] * len(completions)
            for index, (item, score) in enumerate(zip(completions, scores, strict=True)):
                text = self.processor.decode(item.token_ids)
                said = (item.token_ids, item.logprobs, text, item.finish)
                rollouts.append(Rollout(prompt, index, *said, weights.version, score))
        return Rolled(tuple(rollouts), failures), [part.shipped() for part in tensors]

    def _encode(self, prompt: Prompt) -> Encoded:
        question = prompt.question
        parts = read_sample(question.ref) if question.ref is not None else {}
        images = decode_parts({name: data for name, data in parts.items() if name != "json"})
        return self.processor.encode(list(question.messages), images, question.mode, generation=True)
