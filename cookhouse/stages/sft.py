"""Stage `sft`: general fine-tuning, then long thinking with 3D video packages, in one gang (paper section 4)."""

from __future__ import annotations

from typing import Any

from cookhouse.stages.training import run_phases
from model.training.config import TrainConfig
from pipelines.workflow.stage import Attempt, Inputs, stage


class FineTune(TrainConfig):
    """`model/` of an earlier step + shards -> `model/`."""


@stage(
    "sft",
    code_version=1,
    inputs=("model", "shards"),
    engines=("torch", "deepspeed", "transformers"),
    deterministic="numbers",
    limit=False,
    needs="train",
)
def fine_tune(config: FineTune, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Train the phases from the weights, configuration and tokenizer of ``model``."""
    from model.training.job import ModelSource

    return run_phases(config, ModelSource(folder=inputs.one("model").path("model")), inputs, out)
