"""What `pretrain` and `sft` share: the configuration of a gang, and the way from shards to a `model/` folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field

from model.training.phases import Optimizer, Phase
from pipelines.core.canonical import digest
from pipelines.core.cpus import FOLLOWS, Room
from pipelines.core.errors import CookhouseError, DataError, did_you_mean
from pipelines.core.executor import Demand, Resources
from pipelines.core.identity import Identity, Misfit, Runtime, StageConfig, identity_of
from pipelines.core.meanwhile import meanwhile
from pipelines.workflow.stage import Attempt, Inputs

if TYPE_CHECKING:
    from model.training.job import ModelSource

CHECKPOINTS = "checkpoints"
CHECKPOINT_LOOK_S = 2.0


class GangConfig(StageConfig):
    """Phases and how they are trained. ``zero_stage`` None trains with plain torch in one process. ``launcher`` ray starts
    processes of this machine where the step has no cluster. ``threads``: torch threads per process, by default as
    many as ``cpus_per_worker``, and those follow the CPUs. ``max_failures``: restarts of the gang after lost workers.
    ``bytes_per_token`` estimates text lengths before decoding (1 for the byte tokenizer, 3.5 for Qwen's).
    ``precision`` bf16 is for accelerators and CPUs that have it (`cookhouse doctor` measures); no machine may choose it,
    because it enters the key."""

    phases: Identity[tuple[Phase, ...]] = Field(min_length=1)
    optimizer: Identity[Optimizer] = Optimizer()
    seed: Identity[int] = 0
    world_size: Identity[int] = Field(default=2, ge=1)
    zero_stage: Identity[Literal[0, 1, 2, 3] | None] = 1
    precision: Identity[Literal["fp32", "bf16"]] = "fp32"
    bytes_per_token: Identity[float] = Field(default=1.0, gt=0)
    on_error: Identity[Literal["skip", "fail"]] = "skip"
    max_skipped_share: Runtime[float] = Field(default=0.02, ge=0, le=1)
    launcher: Runtime[Literal["ray", "local", "torchrun"]] = "ray"
    cpus_per_worker: Runtime[float] = Field(default=FOLLOWS, ge=0)
    gpus_per_worker: Runtime[float] = Field(default=0.0, ge=0)
    memory_per_worker: Runtime[int] = Field(default=0, ge=0)
    threads: Runtime[int] = Field(default=FOLLOWS, ge=0)
    prefetch: Runtime[bool] = False
    max_failures: Runtime[int] = 1
    log_every: Runtime[int] = Field(default=10, ge=1)
    checkpoint_every: Runtime[int] = Field(default=100, ge=0)

    def sized(self, room: Room) -> Self:
        """Each rank has as many threads as its part of the CPUs, and reserves those; a part of one where ranks outnumber
        the CPUs."""
        threads = self.threads or int(self.cpus_per_worker) or room.threads(self.world_size)
        cpus = self.cpus_per_worker or min(threads, room.cpus / self.world_size)
        return self.model_copy(update={"threads": threads, "cpus_per_worker": float(cpus)})

    @property
    def rank(self) -> Resources:
        """What each rank reserves."""
        return Resources(self.cpus_per_worker or 1.0, self.gpus_per_worker, self.memory_per_worker)

    def demand(self) -> Demand:
        """The whole gang at once."""
        return Demand(self.rank.times(self.world_size))

    def asks(self) -> str:
        return f"ranks {self.world_size}, threads of each {self.threads}"

    def misfits(self, inputs: Mapping[str, tuple[str, ...]]) -> Iterator[Misfit]:
        """Weights name shard inputs, and packs divide over the ranks."""
        shards = inputs.get("shards", ())
        for number, phase in enumerate(self.phases):
            places = [("weights",), ("repetitions",), *(("changes", n, "weights") for n in range(len(phase.changes)))]
            mixes = [phase.weights, phase.repetitions, *(change.weights for change in phase.changes)]
            for place, mix in zip(places, mixes, strict=True):
                for name in mix:
                    if name not in shards:
                        known = did_you_mean(name, shards) or f"its shard inputs are {', '.join(shards)}"
                        what = f"phase '{phase.name}' weighs '{name}', which is none of the step's shard inputs"
                        yield Misfit(("phases", number, *place, name), what, known)
            if phase.packs_per_step % self.world_size:
                packs = f"packs_per_step {phase.packs_per_step}"
                what = f"phase '{phase.name}': {packs} does not divide over {self.world_size} ranks"
                yield Misfit(("phases", number, "packs_per_step"), what, f"use a multiple of {self.world_size}")


def run_phases(config: GangConfig, model: ModelSource, inputs: Inputs, out: Attempt) -> dict[str, Any]:
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
    job = Job(
        model=model,
        samples=samples,
        phases=config.phases,
        optimizer=config.optimizer,
        seed=config.seed,
        world_size=config.world_size,
        folder=out.dir,
        scratch=out.scratch,
        zero_stage=config.zero_stage,
        precision=config.precision,
        bytes_per_token=config.bytes_per_token,
        fingerprint=digest(
            [identity_of(config), [artifact.key for port in sorted(inputs) for artifact in inputs[port]]]
        ),
        roots=earlier_checkpoints(out),
        events=out.events.path,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        on_error=config.on_error,
        prefetch=config.prefetch,
        threads=max(1, config.threads),
    )
    with checkpoints_kept(out):
        totals = launch(
            "local" if config.launcher == "ray" and not out.executor.distributed else config.launcher,
            job,
            rank=config.rank,
            max_failures=config.max_failures,
        )
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
    from model.training.checkpoints import MANIFEST

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
