"""Stage `pretrain`: three phases of unfreezing in one gang (resampler; + vision tower; all), paper section 3.1."""

from __future__ import annotations

from typing import Any

from cookhouse.stages.training import run_phases
from model.config import ModelConfig
from model.training.config import TrainConfig
from pipelines.core.identity import ExternalFile, Identity
from pipelines.workflow.stage import Attempt, Inputs, stage


class Pretrain(TrainConfig):
    """Shards -> `model/`. ``vision`` and ``language`` are safetensors of pretrained towers (both, or neither: all from
    scratch); ``tokenizer`` is the `tokenizer.json` of the language model, or comes from an input of that name (a step
    of stage ``tokenizer``), or is the byte tokenizer if neither is given. An input ``start`` holds ``start.safetensors``:
    some parameters under released names, which take the places of fresh ones."""

    model: Identity[ModelConfig]
    vision: Identity[ExternalFile | None] = None
    language: Identity[ExternalFile | None] = None
    tokenizer: Identity[ExternalFile | None] = None


@stage(
    "pretrain",
    code_version=1,
    inputs=("shards",),
    optional_inputs=("tokenizer", "start"),
    replaces={"tokenizer": "tokenizer"},
    engines=("torch", "deepspeed", "transformers"),
    deterministic="numbers",
    limit=False,
    needs="train",
)
def pretrain(config: Pretrain, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Train the phases from pretrained towers and a fresh resampler."""
    from model.training.job import ModelSource

    learned, start = inputs.optional("tokenizer"), inputs.optional("start")
    tokenizer = config.tokenizer.locate() if config.tokenizer else learned and learned.path("tokenizer.json")
    source = ModelSource(
        config=config.model,
        tokenizer=tokenizer.parent if tokenizer else None,
        vision=config.vision.locate() if config.vision else None,
        language=config.language.locate() if config.language else None,
        start=start.path("start.safetensors") if start else None,
    )
    return run_phases(config, source, inputs, out)
