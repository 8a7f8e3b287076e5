"""A rollout worker: an engine, the processor, and the pictures of its prompts. A plain class; ``rl.crew.actors`` makes it an
actor. It loads weights only when a chunk asks for another version, and proves with every chunk what it sampled with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from model.checkpoint import load_model
from model.pack import Encoded
from pipelines.shards.read import decode_parts, read_sample
from rl.crew.protocol import prove
from rl.engine import EmbeddedEngine
from rl.prompts import Chunk
from rl.records import PolicyVersion, Prompt, Rollout
from rl.settings import ReinforceConfig
from rl.transport import Weights
from rl.tree import PromptTensors


@dataclass(frozen=True)
class RolledChunk:
    """Rollouts of one chunk with the version the engine proved to hold. ``failures``: prompt uid -> reason."""

    uid: str
    rollouts: tuple[Rollout, ...]
    version: PolicyVersion
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class RolloutWorker:
    """``roll`` is all it does."""

    def __init__(self, model_dir: Path, config: ReinforceConfig) -> None:
        self.config = config
        network, self.processor = load_model(model_dir)
        self.engine = EmbeddedEngine(network, self.processor, reuse_vision=config.reuses_vision)

    def roll(self, chunk: Chunk, weights: Weights) -> tuple[RolledChunk, list[PromptTensors]]:
        """Sample every prompt of the chunk with exactly these weights. Raises InfraError when memory does not hold what
        was loaded (a corrupted tensor): the caller replaces the worker. A prompt that cannot be read (a bad picture)
        fails alone, with its reason; anything else that goes wrong is the worker's failure and raises."""
        begun = time.perf_counter()
        held = self.engine.version()
        if self.engine.loaded is not None:
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
        prompts = self.engine.prepare([prompt.uid for prompt in readable], encoded)
        sampled = []
        if readable:
            sampled = self.engine.generate(prompts, readable[0].mode, self.config.sampling, chunk.seed)
        rollouts = tuple(
            Rollout(prompt, tuple(completions), weights.version)
            for prompt, completions in zip(readable, sampled, strict=True)
        )
        return RolledChunk(chunk.uid, rollouts, weights.version, failures, time.perf_counter() - begun), [
            prompt.shipped() for prompt in prompts
        ]

    def _encode(self, prompt: Prompt) -> Encoded:
        question = prompt.question
        images = {}
        if question.ref is not None:
            parts = decode_parts({name: data for name, data in read_sample(question.ref).items() if name != "json"})
            images = dict(parts)
        return self.processor.encode(list(question.messages), images, question.mode, generation=True)
