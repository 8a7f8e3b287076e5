"""Stage `pretrain`: three phases of unfreezing in one gang (resampler; + vision tower; all), paper section 3.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cookhouse.stages.training import GangConfig, run_phases
from model.config import ModelConfig
from pipelines.core.errors import ConfigError
from pipelines.core.identity import ExternalFile, Identity
from pipelines.workflow.stage import Attempt, Inputs, stage


class Pretrain(GangConfig):
    """Shards -> `model/`. ``vision`` and ``language`` are safetensors of pretrained towers (both, or neither: all from
    scratch); ``tokenizer`` is the `tokenizer.json` of the language model, or comes from an input of that name (a step
    of stage ``tokenizer``), or is the byte tokenizer if neither is given. An input ``start`` holds one safetensors file
    of some parameters under released names, which take the places of fresh ones."""

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

    learned = inputs.optional("tokenizer")
    tokenizer = config.tokenizer.locate() if config.tokenizer else learned and learned.path("tokenizer.json")
    source = ModelSource(
        config=config.model,
        tokenizer=tokenizer.parent if tokenizer else None,
        vision=config.vision.locate() if config.vision else None,
        language=config.language.locate() if config.language else None,
        start=_start(inputs),
    )
    return run_phases(config, source, inputs, out)


def _start(inputs: Inputs) -> Path | None:
    """The file of the input ``start``. Raises ConfigError unless it is one."""
    if (artifact := inputs.optional("start")) is None:
        return None
    files = [name for name in artifact.names if name.endswith(".safetensors")]
    if len(files) != 1:
        why = f"it holds {len(files)} safetensors files"
        raise ConfigError(
            f"'{artifact.step}' is no start", where="input start", why=why, do="give a step that makes one"
        )
    return artifact.path(files[0])
