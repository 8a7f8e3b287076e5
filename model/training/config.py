"""How phases are trained: one frozen record, which the stage passes whole to the gang, its loader, loop and engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field

from model.training.phases import Optimizer, Phase, Precision
from pipelines.core.cpus import FOLLOWS, Room
from pipelines.core.errors import did_you_mean
from pipelines.core.executor import Demand, Resources
from pipelines.core.identity import Identity, Misfit, Runtime, StageConfig


class TrainConfig(StageConfig):
    """``zero_stage`` None trains with plain torch in one process. ``launcher`` ray starts processes of this machine where
    the step has no cluster. ``threads``: torch threads per process, by default as many as ``cpus_per_worker``, and those
    follow the CPUs. ``max_failures``: restarts of the gang after lost workers. ``bytes_per_token`` estimates text lengths
    before decoding (1 for the byte tokenizer, 3.5 for Qwen's). ``precision`` bf16 is for accelerators and CPUs that have
    it (`cookhouse doctor` measures); no machine may choose it, because it enters the key. A checkpoint is written at the
    end of a phase and every ``checkpoint_every`` steps (0: only there); the ``keep_checkpoints`` furthest are kept."""

    # data
    phases: Identity[tuple[Phase, ...]] = Field(min_length=1)
    seed: Identity[int] = 0
    bytes_per_token: Identity[float] = Field(default=1.0, gt=0)
    prefetch: Runtime[bool] = False
    # optimizer and engine
    optimizer: Identity[Optimizer] = Optimizer()
    precision: Identity[Precision] = "fp32"
    zero_stage: Identity[Literal[0, 1, 2, 3] | None] = 1
    # the gang
    world_size: Identity[int] = Field(default=2, ge=1)
    launcher: Runtime[Literal["ray", "local", "torchrun"]] = "ray"
    cpus_per_worker: Runtime[float] = Field(default=FOLLOWS, ge=0)
    gpus_per_worker: Runtime[float] = Field(default=0.0, ge=0)
    memory_per_worker: Runtime[int] = Field(default=0, ge=0)
    threads: Runtime[int] = Field(default=FOLLOWS, ge=0)
    max_failures: Runtime[int] = 1
    # checkpoints and metrics
    log_every: Runtime[int] = Field(default=10, ge=1)
    checkpoint_every: Runtime[int] = Field(default=100, ge=0)
    keep_checkpoints: Runtime[int] = Field(default=2, ge=1)
    # what is forgiven
    on_error: Identity[Literal["skip", "fail"]] = "skip"
    max_skipped_share: Runtime[float] = Field(default=0.02, ge=0, le=1)

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
            for place, mix in phase.mixes.items():
                for name in mix:
                    if name not in shards:
                        known = did_you_mean(name, shards) or f"its shard inputs are {', '.join(shards)}"
                        what = f"phase '{phase.name}' weighs '{name}', which is none of the step's shard inputs"
                        yield Misfit(("phases", number, *place, name), what, known)
            if phase.packs_per_step % self.world_size:
                packs = f"packs_per_step {phase.packs_per_step}"
                what = f"phase '{phase.name}': {packs} does not divide over {self.world_size} ranks"
                yield Misfit(("phases", number, "packs_per_step"), what, f"use a multiple of {self.world_size}")
