"""Where a training stands and what it has seen: the place (``Cursor``), the statistics (``Meter``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.training.engine import Group
    from model.training.loader import Loaded

SUMS = ("loss", "learned", "supervised", "tokens", "patches", "samples", "skipped_samples", "packs", "wait")
TOTALS = ("samples", "tokens", "supervised", "skipped_samples")


@dataclass(frozen=True)
class Cursor:
    """``phase`` and ``step`` are the next step to take; ``updates`` counts steps of this phase that moved the weights (the
    schedule follows it), ``total_steps`` and ``skipped_steps`` those of all phases."""

    phase: int = 0
    step: int = 0
    updates: int = 0
    total_steps: int = 0
    skipped_steps: int = 0

    def after(self, updated: bool) -> Cursor:
        """One step later."""
        return replace(
            self,
            step=self.step + 1,
            updates=self.updates + updated,
            total_steps=self.total_steps + 1,
            skipped_steps=self.skipped_steps + (not updated),
        )


@dataclass
class Meter:
    """Sums by name: of this rank since the last line of metrics (``window``), and of all ranks since the start
    (``totals``). ``losses``: mean loss of each line that has one."""

    totals: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOTALS, 0))
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    window: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.window[name] += value

    def count(self, loaded: Loaded, loss: float) -> None:
        """A pack and its summed token losses. A loss that is no number would make the line's mean none: left out."""
        if math.isfinite(loss):
            self.add(loss=loss, learned=loaded.supervised)
        self.add(
            supervised=loaded.supervised,
            tokens=loaded.tokens,
            patches=loaded.patches,
            samples=loaded.samples,
            skipped_samples=len(loaded.problems),
            packs=1,
        )

    def read(self, group: Group, seconds: float) -> dict[str, float]:
        """Close the window of so many ``seconds``: its metrics over all ranks, NaN for a loss nobody has."""
        seen = dict(zip(SUMS, group.sum([self.window[name] for name in SUMS]), strict=True))
        self.window = dict.fromkeys(SUMS, 0.0)
        self.totals = {name: total + int(seen[name]) for name, total in self.totals.items()}
        self.seconds += seconds
        lost = not seen["learned"] and seen["supervised"]
        loss = math.nan if lost else seen["loss"] / max(seen["learned"], 1)
        self.losses += [] if lost else [loss]
        packs = max(seen["packs"], 1)
        return {
            "train/loss": loss,
            "train/tokens_per_s": seen["tokens"] / seconds,
            "train/samples_per_s": seen["samples"] / seconds,
            "train/samples": self.totals["samples"],
            "train/tokens": self.totals["tokens"],
            "data/samples_per_pack": seen["samples"] / packs,
            "data/tokens_per_pack": seen["tokens"] / packs,
            "data/patches_per_pack": seen["patches"] / packs,
            "data/supervised_share": seen["supervised"] / max(seen["tokens"], 1),
            "data/skipped_samples": self.totals["skipped_samples"],
            "data/wait_share": seen["wait"] / group.world_size / seconds,
        }

    def state(self) -> dict[str, int | float | Sequence[float]]:
        """The totals, as a checkpoint and the result hold them."""
        return {**self.totals, "losses": self.losses, "seconds": self.seconds}

    @classmethod
    def restored(cls, state: dict[str, int | float | list[float]]) -> Meter:
        """What ``state`` gave."""
        kept = dict(state)
        return cls(losses=kept.pop("losses"), seconds=kept.pop("seconds"), totals=kept)  # type: ignore[arg-type]
