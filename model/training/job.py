"""One process of a training gang, from a picklable description to a result. Every launcher runs ``run_job``.

Rank 0 writes the metrics, the final ``model/`` folder and ``result.json``; the launcher reads the result from there, so
a result does not depend on how the gang was started.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import ModelConfig
from model.training.config import TrainConfig
from model.training.phases import Phase
from pipelines.core.errors import ConfigError
from pipelines.core.storage import put
from pipelines.shards.index import SampleRef

if TYPE_CHECKING:
    from model.minicpmv import MiniCPMV
    from model.processor import Processor
    from model.training.engine import Engine, Group


@dataclass(frozen=True)
class ModelSource:
    """Where the weights come from: a ``folder`` (released layout), or ``config`` + ``tokenizer`` folder (None: the byte
    tokenizer), with a safetensors file each for the tower and the language model, or neither (all from scratch).
    ``start``: a safetensors file of some parameters under released names, put over the fresh ones."""

    folder: Path | None = None
    config: ModelConfig | None = None
    tokenizer: Path | None = None
    vision: Path | None = None
    language: Path | None = None
    start: Path | None = None

    def processor(self, scratch: Path) -> Processor:
        """Tokenizer and configuration; a byte tokenizer is written to ``scratch``."""
        from model.checkpoint import load_config
        from model.processor import Processor
        from model.tokenizer import build_byte_tokenizer, load_tokenizer

        if self.folder is None and self.config is None:
            raise ConfigError("a model starts from a folder or a configuration, this one has neither")
        tokenizer = self.folder or self.tokenizer
        read = load_tokenizer(tokenizer) if tokenizer else build_byte_tokenizer(scratch / "tokenizer")
        return Processor(self.config or load_config(tokenizer or ""), read)

    def model(self, config: ModelConfig, seed: int) -> MiniCPMV:
        """The weights training starts from. Fresh parts depend on ``seed`` only."""
        from model.checkpoint import init_from_parts, load_model

        if self.folder is not None:
            return load_model(self.folder)[0]
        return init_from_parts(config, self.vision, self.language, self.start, seed=seed)


@dataclass(frozen=True)
class Job:
    """Everything a worker needs. ``samples``: dataset -> its training samples. ``folder`` takes checkpoints and the model;
    ``roots`` are checkpoint folders of earlier attempts; ``scratch`` takes what is not a result."""

    config: TrainConfig
    model: ModelSource
    samples: dict[str, tuple[SampleRef, ...]]
    folder: Path
    scratch: Path
    fingerprint: str = ""
    roots: tuple[Path, ...] = ()
    events: Path | None = None

    @property
    def result(self) -> Path:
        return self.scratch / "result.json"


def run_job(job: Job, rank: int) -> None:
    """Train in this process as ``rank``; the process group is made by the launcher or from the environment."""
    started = time.perf_counter()
    import torch

    config = job.config
    torch.set_num_threads(max(1, config.threads))
    from model.training.lean import without

    with without("scipy", "sklearn", "pandas"):
        from model.checkpoint import save_weights
    from model.training.cost import Geometry
    from model.training.engine import Alone
    from model.training.loader import Loader
    from model.training.loop import train
    from model.training.plan import plan_phase
    from model.training.saver import Saver
    from pipelines.core.events import EventWriter

    events = EventWriter(job.events) if rank == 0 and job.events else None
    processor = job.model.processor(job.scratch / f"rank-{rank}")
    group = Alone() if config.zero_stage is None else _gang()
    geometry = Geometry.of(processor.config, config.bytes_per_token)
    plans = [
        plan_phase(job.samples, phase, index=n, seed=config.seed, geometry=geometry, world_size=config.world_size)
        for n, phase in enumerate(config.phases)
    ]
    if events is not None:
        events.emit(
            "note", text=f"worker ready after {time.perf_counter() - started:.1f} s", world_size=group.world_size
        )
    engine, cursor, meter = train(
        group,
        config,
        plans,
        partial(_build, job, processor.config),
        lambda plan: Loader(plan, processor, config, rank),
        Saver(job.folder / "checkpoints", job.fingerprint, job.roots, config.keep_checkpoints),
        events,
    )
    weights = engine.export_weights()
    if rank == 0:
        save_weights(job.folder / "model", weights, processor.config)
        processor.tokenizer.save_pretrained(job.folder / "model")
        plain = {"dropped_samples": sum(plan.dropped for plan in plans), "fill": [plan.fill for plan in plans]}
        put(job.result, json.dumps(asdict(cursor) | meter.state() | plain).encode())
        if events is not None:
            events.close()
    engine.barrier()
    engine.close()


def read_result(job: Job) -> dict[str, Any]:
    """What rank 0 left: the totals of the run."""
    return json.loads(job.result.read_text(encoding="utf-8"))


def _gang() -> Group:
    from model.training.engine_deepspeed import Gang

    return Gang()


def _build(job: Job, model_config: ModelConfig, phase: Phase, before: Engine | None) -> Engine:
    """The engine of a phase. Weights come from the start, or go through a file: the first rank of each machine writes what
    the engine ``before`` holds, all build a new network from it."""
    if before is None:
        model = job.model.model(model_config, job.config.seed)
    else:
        from model.checkpoint import load_weights, write_weights

        file = job.scratch / "phase.safetensors"
        if weights := before.export_weights(each_machine=True):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_weights(file, weights, model_config)
        before.barrier()
        before.close()
        model = load_weights(model_config, file)
    config, scale = job.config, phase.lr_scale
    learns = model, phase.trains, config.optimizer
    if config.zero_stage is None:
        import torch

        from model.training.engine import TorchEngine

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return TorchEngine(*learns, lr_scale=scale, precision=config.precision, device=device)
    from model.training.engine_deepspeed import DeepSpeedEngine

    return DeepSpeedEngine(*learns, lr_scale=scale, precision=config.precision, zero_stage=config.zero_stage)
