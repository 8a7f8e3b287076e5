"""What one phase of a training step is: a frozen record, decided before anything starts.

A `pretrain` or `sft` step runs several phases in one worker group (paper sections 3.1 and 4): each names the parts that
learn, the schedule, the mixture, the size of a pack and, for videos, how frames share visual tokens. Nothing here
imports torch, so planning a run stays light.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

from pydantic import Field, model_validator

from pipelines.core.identity import Record
from pipelines.shards.strata import between, shares_of

Part = Literal["resampler", "vision", "language"]
Mode = Literal["short", "long", "none"]
Precision = Literal["fp32", "bf16"]

PREFIX: dict[Part, str] = {"resampler": "resampler.", "vision": "vpm.", "language": "llm."}
"""State-dict prefix of each part (the names of the released checkpoint)."""


class Schedule(Record):
    """Learning rate over the optimizer steps of one phase; see ``schedule.learning_rate``.

    ``warmup`` and ``decay`` below 1 are fractions of the phase, from 1 on they are steps. ``lr`` is the peak (stable)
    rate, ``final_lr`` the rate at the end (and, as in transformers, the rate a linear warm-up starts from)."""

    kind: Literal["wsd", "cosine", "constant", "warmup_linear"] = "wsd"
    lr: float = Field(gt=0)
    final_lr: float = Field(default=0.0, ge=0)
    warmup: float = Field(default=0.02, ge=0)
    decay: float = Field(default=0.2, ge=0)
    decay_shape: Literal["linear", "cosine"] = "linear"

    @model_validator(mode="after")
    def _falls(self) -> Schedule:
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr {self.final_lr} is above lr {self.lr}")
        return self


class MixChange(Record):
    """From the fraction ``at`` of a phase on, the mix moves to ``weights``: at once, or evenly over the fraction
    ``ramp`` that follows. (The recipe's decay phase: ``at`` = 1 - decay, and the best data.)"""

    at: float = Field(gt=0, lt=1)
    weights: dict[str, float] = Field(min_length=1)
    ramp: float = Field(default=0.0, ge=0, lt=1)


class Phase(Record):
    """A part of a training step with its own trainable parts, schedule and mix.

    ``weights``: dataset (step name) -> share of samples; or ``repetitions``: dataset -> how often an epoch walks
    through it (0.5: half of it, other samples next time). ``stratify``: samples of a stratum, every window of which has
    the exact mix (about the samples of one optimizer step; 0: only the running total is exact). ``changes`` move the
    weights on the way, in order, and need ``stratify``. ``tokens_per_pack``: budget of one pack in *work tokens*
    (sequence tokens plus ``patch_cost`` x patches, see ``cost.Geometry``). ``packs_per_step``: packs of one optimizer
    step over all ranks. ``modes``: samples of other modes are left out, ``without``: and those with one of these tags
    (a family of documents, a question kind). ``package``: None keeps videos 2D (frame by frame, no ticks, as in
    pretraining); ``(1, 6)`` draws the package size of every video sample from 1..6 and switches the temporal embedding
    on. ``stride``: every k-th frame is kept, k drawn from the range (frame rate augmentation).
    ``lr_scale`` multiplies the rate of a part."""

    name: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    trains: tuple[Part, ...] = Field(min_length=1)
    steps: int = Field(gt=0)
    schedule: Schedule
    weights: dict[str, float] = Field(default_factory=dict)
    repetitions: dict[str, float] = Field(default_factory=dict)
    stratify: int = Field(default=0, ge=0, le=65536)
    changes: tuple[MixChange, ...] = ()
    tokens_per_pack: int = Field(default=2048, gt=0)
    packs_per_step: int = Field(default=2, gt=0)
    modes: tuple[Mode, ...] = ("none", "short")
    without: tuple[str, ...] = ()
    package: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)
    lr_scale: dict[Part, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Phase:
        for wrong in self._wrong():
            raise ValueError(f"phase {self.name!r}: {wrong}")
        return self

    def _wrong(self) -> Iterator[str]:
        if len(set(self.trains)) != len(self.trains):
            yield f"trains {self.trains} names a part twice"
        if bool(self.weights) == bool(self.repetitions):
            yield "give either weights or repetitions"
        for shares in filter(None, self.mixes.values()):
            if any(weight < 0 for weight in shares.values()) or not any(shares.values()):
                yield "weights must not be negative, and one must be above 0"
        if self.changes and (self.repetitions or not self.stratify):
            yield (
                "a mix that changes needs weights and stratify (samples between two looks at the schedule, about those of "
                "one optimizer step)"
            )
        free = 0.0
        for change in self.changes:
            if change.at < free or change.at + change.ramp > 1:
                begins = f"the change at {change.at} (ramp {change.ramp}) begins"
                yield f"{begins} before the one before it is over, or ends after the phase"
            free = change.at + change.ramp
        for label, span in (("package", self.package), ("stride", self.stride)):
            if span is not None and not 1 <= span[0] <= span[1]:
                yield f"{label} {span} is not a range (low, high) with 1 <= low <= high"
        if self.package is not None and self.package[1] > 6:
            yield f"package {self.package}: at most 6 frames share a package (paper section 4)"

    @property
    def mixes(self) -> dict[tuple[str | int, ...], dict[str, float]]:
        """Every mix of datasets, by its place in this record."""
        places: list[tuple[str | int, ...]] = [("changes", n, "weights") for n in range(len(self.changes))]
        changes = dict(zip(places, (change.weights for change in self.changes), strict=True))
        return {("weights",): self.weights, ("repetitions",): self.repetitions, **changes}

    @property
    def datasets(self) -> tuple[str, ...]:
        """Every dataset the mix names, sorted; also those with weight 0."""
        return tuple(sorted(set().union(*self.mixes.values())))

    def shares_at(self, progress: Fraction) -> dict[str, Fraction]:
        """Exact shares of the mix when this part (0 to 1) of the phase is over. Weights only."""
        shares = shares_of(self.weights)
        for change in self.changes:
            at, ramp = Fraction(str(change.at)), Fraction(str(change.ramp))
            if progress < at:
                break
            shares = between(shares, shares_of(change.weights), (progress - at) / ramp if ramp else Fraction(1))
        return shares


class Optimizer(Record):
    """AdamW. ``clip`` is the global gradient norm that is never exceeded (0 = off)."""

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip: float = 1.0
