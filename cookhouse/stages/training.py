"""Stages `pretrain` and `sft`, and the way from shards to a `model/` folder that they share."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.config import ModelConfig
from model.training.config import TrainConfig
from pipelines.core.canonical import digest
from pipelines.core.errors import CookhouseError, DataError
from pipelines.core.identity import ExternalFile, Identity, identity_of
from pipelines.core.meanwhile import meanwhile
from pipelines.workflow.stage import Attempt, Inputs, stage

if TYPE_CHECKING:
    from model.training.job import ModelSource

CHECKPOINTS = "checkpoints"
CHECKPOINT_LOOK_S = 2.0

train_stage = functools.partial(
    stage, engines=("torch", "deepspeed", "transformers"), deterministic="numbers", limit=False, needs="train"
)
"""``@stage`` of one that trains a gang on shards."""


class Pretrain(TrainConfig):
    """Shards -> `model/`. ``vision`` and ``language`` are safetensors of pretrained towers (both, or neither: all from
    scratch); ``tokenizer`` is the `tokenizer.json` of the language model, or comes from an input of that name (a step
    of stage ``tokenizer``), or is the byte tokenizer if neither is given. An input ``start`` holds ``start.safetensors``:
    some parameters under released names, which take the places of fresh ones."""

    model: Identity[ModelConfig]
    vision: Identity[ExternalFile | None] = None
    language: Identity[ExternalFile | None] = None
    tokenizer: Identity[ExternalFile | None] = None


@train_stage(
    "pretrain",
    code_version=1,
    inputs=("shards",),
    optional_inputs=("tokenizer", "start"),
    replaces={"tokenizer": "tokenizer"},
)
def pretrain(config: Pretrain, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Three phases of unfreezing in one gang (resampler; + vision tower; all), paper section 3.1, from pretrained towers
    and a fresh resampler."""
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


class FineTune(TrainConfig):
    """`model/` of an earlier step + shards -> `model/`."""


@train_stage("sft", code_version=1, inputs=("model", "shards"))
def fine_tune(config: FineTune, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """General fine-tuning, then long thinking with 3D video packages, in one gang (paper section 4), from the weights,
    configuration and tokenizer of ``model``."""
    from model.training.job import ModelSource

    return run_phases(config, ModelSource(folder=inputs.one("model").path("model")), inputs, out)


def run_phases(config: TrainConfig, model: ModelSource, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Train on the train split of all shard inputs; ``model/`` is the result. Resumes from the newest checkpoint of
    this or an earlier attempt, and drops the checkpoints when the model is written.

    Raises DataError when more than ``max_skipped_share`` of the samples could not be decoded."""
    from model.training.job import Job
    from model.training.launch import launch
    from pipelines.shards.index import ShardIndex

    index = ShardIndex.from_artifacts(inputs["shards"])
    samples = {
        artifact.step: tuple(index.select(split="train", dataset=artifact.step)) for artifact in inputs["shards"]
    }
    out.events.emit("note", text=", ".join(f"{name}: {len(refs)} train samples" for name, refs in samples.items()))
    keys = [artifact.key for port in sorted(inputs) for artifact in inputs[port]]
    job = Job(
        config=config,
        model=model,
        samples=samples,
        folder=out.dir,
        scratch=out.scratch,
        fingerprint=digest([identity_of(config), keys]),
        roots=earlier_checkpoints(out),
        events=out.events.path,
    )
    with checkpoints_kept(out):
        here = config.launcher == "ray" and not out.executor.distributed
        totals = launch("local" if here else config.launcher, job)
    skipped = totals["skipped_samples"]
    if skipped > config.max_skipped_share * (totals["samples"] + skipped):
        raise DataError(
            f"{skipped} of {totals['samples'] + skipped} training samples could not be used",
            where="notes in this step's events name some of them",
            do="run `cookhouse shards verify`, or raise max_skipped_share",
        )
    shutil.rmtree(out.dir / CHECKPOINTS, ignore_errors=True)
    losses = totals["losses"]
    tail = losses[-max(1, len(losses) // 20) :]
    loss = sum(tail) / len(tail)
    return {
        "samples": totals["samples"],
        "optimizer_steps": totals["total_steps"],
        "main_metric": ["loss", loss],
        "metrics": {
            "train/loss": loss,
            "train/tokens": totals["tokens"],
            "train/supervised_tokens": totals["supervised"],
            "train/samples_per_s": totals["samples"] / max(totals["seconds"], 1e-9),
            "train/seconds": totals["seconds"],
            "train/skipped_steps": totals["skipped_steps"],
            "data/skipped_samples": skipped,
            "data/dropped_samples": totals["dropped_samples"],
        },
        "fill": totals["fill"],
    }


def earlier_checkpoints(out: Attempt) -> tuple[Path, ...]:
    """Folders of this machine with checkpoints of the attempts before, the newest whole one among them. Of a remote store
    that one alone is copied down: they are large. One whose files somebody removed is passed over."""
    if not out.carries:
        return tuple(elder / CHECKPOINTS for elder in out.elders if isinstance(elder, Path))
    names = [file for receipt in out.units().values() for file in receipt.get("state", ())]
    folders = {"/".join(name.split("/")[:2]) for name in names if name.startswith(f"{CHECKPOINTS}/")}
    for folder in sorted(folders, key=lambda name: int(name.rpartition("-")[2]), reverse=True):
        with suppress(FileNotFoundError):
            return (out.path(folder).parent,)
    return ()


@contextmanager
def checkpoints_kept(out: Attempt) -> Iterator[None]:
    """In a remote store a checkpoint outlives its machine only if it is carried there: while training runs, every whole
    one becomes a unit of the ledger. In a local store the next attempt finds them where they lie."""
    if not out.carries:
        yield
        return
    from model.training.saver import MANIFEST

    kept: set[str] = set()

    def look() -> None:
        for manifest in sorted((out.dir / CHECKPOINTS).glob(f"*/{MANIFEST}")):
            folder = manifest.parent
            if folder.name in kept:
                continue
            with suppress(OSError, CookhouseError):  # dropped for a newer one, or the store is away: next look
                names = sorted(path.relative_to(out.dir).as_posix() for path in folder.rglob("*") if path.is_file())
                out.commit_unit(f"checkpoint-{folder.name}", {"state": names})
                kept.add(folder.name)

    with meanwhile(look, CHECKPOINT_LOOK_S):
        yield
