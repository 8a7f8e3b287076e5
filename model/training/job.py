"""One process of a training gang, from a picklable description to a result. Every launcher runs ``run_job``.

Rank 0 writes the metrics, the final ``model/`` folder and ``result.json``; the launcher reads the result from there, so
a result does not depend on how the gang was started.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.config import ModelConfig
from model.training.phases import Optimizer, Phase
from pipelines.core.errors import ConfigError
from pipelines.core.storage import put
from pipelines.shards.index import SampleRef


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


@dataclass(frozen=True)
class Job:
    """Everything a worker needs. ``samples``: dataset -> its training samples. ``zero_stage`` None trains with plain
    torch (one process). ``threads``: torch threads per process (0 = torch's default). ``folder`` takes checkpoints and
    the model; ``roots`` are checkpoint folders of earlier attempts; ``scratch`` takes what is not a result."""

    model: ModelSource
    samples: dict[str, tuple[SampleRef, ...]]
    phases: tuple[Phase, ...]
    optimizer: Optimizer
    seed: int
    world_size: int
    folder: Path
    scratch: Path
    zero_stage: int | None = 1
    precision: str = "fp32"
    bytes_per_token: float = 1.0
    fingerprint: str = ""
    roots: tuple[Path, ...] = ()
    events: Path | None = None
    log_every: int = 10
    checkpoint_every: int = 100
    on_error: str = "skip"
    prefetch: bool = False
    threads: int = 1

    @property
    def result(self) -> Path:
        return self.scratch / "result.json"


def run_job(job: Job, rank: int) -> None:
    """Train in this process as ``rank``; the process group is made by the launcher or from the environment."""
    started = time.perf_counter()
    import torch

    if job.threads:
        torch.set_num_threads(job.threads)
    from model.training.lean import without

    with without("scipy", "sklearn", "pandas"):
        from model.checkpoint import save_weights
    from model.training.loader import Loader
    from model.training.loop import LoopSettings, train
    from model.training.plan import Geometry, plan_phase
    from pipelines.core.events import EventWriter

    events = EventWriter(job.events) if rank == 0 and job.events else None
    model, processor, config = build_model(job.model, job.seed, job.scratch / f"rank-{rank}")
    engine = _engine(job, model)
    geometry = Geometry.of(config, job.bytes_per_token)
    plans = [
        plan_phase(job.samples, phase, index=number, seed=job.seed, geometry=geometry, world_size=job.world_size)
        for number, phase in enumerate(job.phases)
    ]
    if events is not None:
        events.emit("note", text=f"worker ready after {time.perf_counter() - started:.1f} s", world_size=job.world_size)
    progress = train(
        engine,
        job.phases,
        plans,
        lambda plan: Loader(
            plan,
            processor,
            rank=rank,
            world_size=job.world_size,
            on_error=job.on_error,  # type: ignore[arg-type]
            prefetch=job.prefetch,
        ),
        LoopSettings(
            checkpoints=job.folder / "checkpoints",
            fingerprint=job.fingerprint,
            roots=job.roots,
            log_every=job.log_every,
            checkpoint_every=job.checkpoint_every,
        ),
        events,
    )
    weights = engine.export_weights()
    if rank == 0:
        save_weights(job.folder / "model", weights, config)
        processor.tokenizer.save_pretrained(job.folder / "model")
        result = {
            **asdict(progress),
            "dropped_samples": sum(plan.dropped for plan in plans),
            "fill": [plan.fill for plan in plans],
        }
        put(job.result, json.dumps(result).encode())
        if events is not None:
            events.close()
    engine.barrier()
    engine.close()


def read_result(job: Job) -> dict[str, Any]:
    """What rank 0 left: the totals of the run."""
    return json.loads(job.result.read_text(encoding="utf-8"))


def build_model(source: ModelSource, seed: int, scratch: Path) -> tuple[Any, Any, ModelConfig]:
    """(MiniCPMV, Processor, ModelConfig) of a source. Fresh parts depend on ``seed`` only."""
    from model.checkpoint import init_from_parts, load_model
    from model.processor import Processor
    from model.tokenizer import build_byte_tokenizer, load_tokenizer

    if source.folder is not None:
        model, processor = load_model(source.folder)
        return model, processor, model.config
    if source.config is None:
        raise ConfigError("a model starts from a folder or a configuration, this one has neither")
    tokenizer = load_tokenizer(source.tokenizer) if source.tokenizer else build_byte_tokenizer(scratch / "tokenizer")
    model = init_from_parts(source.config, source.vision, source.language, source.start, seed=seed)
    return model, Processor(source.config, tokenizer), source.config


def _engine(job: Job, model: Any) -> Any:
    if job.zero_stage is None:
        import torch

        from model.training.engine import TorchEngine

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return TorchEngine(model, job.optimizer, precision=job.precision, device=device)  # type: ignore[arg-type]
    from model.training.engine_deepspeed import DeepSpeedEngine

    return DeepSpeedEngine(model, job.optimizer, precision=job.precision, zero_stage=job.zero_stage)  # type: ignore[arg-type]
