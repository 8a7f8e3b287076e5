"""Stage `pretrain`: three phases of unfreezing in one gang (resampler; + vision tower; all), paper section 3.1."""

from __future__ import annotations

from typing import Any, Literal

from cookhouse.stages.training import GangConfig, run_phases
from model.config import ModelConfig
from pipelines.core.identity import ExternalFile, Identity
from pipelines.workflow.stage import Attempt, Inputs, stage


class Pretrain(GangConfig):
    """Shards -> `model/`. ``vision`` and ``language`` are safetensors of pretrained towers (both, or neither: all from
    scratch); ``tokenizer`` is the `tokenizer.json` of the language model, or comes from an input of that name (a step
    of stage ``tokenizer``), or is the byte tokenizer if neither is given;
    ``resampler`` says how the fresh resampler starts, ``bridge`` gives its values a linear map between the towers."""

    model: Identity[ModelConfig]
    vision: Identity[ExternalFile | None] = None
    language: Identity[ExternalFile | None] = None
    bridge: Identity[ExternalFile | None] = None
    tokenizer: Identity[ExternalFile | None] = None
    resampler: Identity[Literal["released", "grid"]] = "grid"


@stage(
    "pretrain",
    code_version=1,
    inputs=("shards",),
    optional_inputs=("tokenizer",),
    replaces={"tokenizer": "tokenizer"},
    engines=("torch", "deepspeed", "transformers"),
    deterministic="numbers",
    limit=False,
    needs="train",
)
def pretrain(config: Pretrain, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Train the phases from pretrained towers and a fresh resampler."""
    from model.training.job import ModelSource

    learned = inputs.optional("tokenizer")
    tokenizer = config.tokenizer.locate() if config.tokenizer else learned and learned.path("tokenizer.json")
    source = ModelSource(
        config=config.model,
        tokenizer=tokenizer.parent if tokenizer else None,
        vision=config.vision.locate() if config.vision else None,
        language=config.language.locate() if config.language else None,
        resampler=config.resampler,
        bridge=config.bridge.locate() if config.bridge else None,
    )
    return run_phases(config, source, inputs, out)
