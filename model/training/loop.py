"""The training loop: a plain function over engines, plans and a source of packs. It knows no Ray and no DeepSpeed.

A step: this rank's packs are decoded, the number of predicted tokens is summed over the ranks once, every pack adds the
gradient of (its summed token losses / that number), the engine updates. So the update does not depend on how samples
fall into packs and ranks. A non-finite gradient skips the step on all ranks alike, is counted, and does not advance the
schedule; ``MAX_NONFINITE`` in a row end the run. Each phase has an engine of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from torch import Tensor

from model.training.config import TrainConfig
from model.training.engine import Engine, Group
from model.training.phases import Phase
from model.training.plan import Plan
from model.training.progress import Cursor, Meter
from model.training.saver import Saver
from model.training.schedule import learning_rate
from pipelines.core.errors import DataError
from pipelines.core.events import EventWriter

if TYPE_CHECKING:
    from model.minicpmv import Supervised
    from model.training.loader import Loaded


MAX_NONFINITE = 5
AnyEngine = TypeVar("AnyEngine", bound=Engine)
Loss = Callable[..., Tensor]
"""``loss(supervised, total=...)``: what a pack adds to the loss of a step of so many predicted tokens (``token_loss``)."""


class Source(Protocol):
    """Where packs come from: the loader of shards, or what a toy draws."""

    def steps(self, first: int) -> Iterator[list[Loaded]]:
        """This rank's packs of each optimizer step from ``first`` on."""


@dataclass
class Guard:
    """Ends a run that learns nothing any more."""

    bad_in_a_row: int = 0

    def watch(self, updated: bool, where: str) -> None:
        """Raises DataError at the ``MAX_NONFINITE``-th step in a row without a finite gradient."""
        self.bad_in_a_row = 0 if updated else self.bad_in_a_row + 1
        if self.bad_in_a_row >= MAX_NONFINITE:
            raise DataError(
                f"{self.bad_in_a_row} steps in a row had no finite gradient",
                where=where,
                do="lower the learning rate, or look at these samples; a rerun starts from the last checkpoint",
            )


def train(
    group: Group,
    config: TrainConfig,
    plans: Sequence[Plan],
    build: Callable[[Phase, AnyEngine | None], AnyEngine],
    source_of: Callable[[Plan], Source],
    saver: Saver,
    events: EventWriter | None = None,
    loss: Loss | None = None,
) -> tuple[AnyEngine, Cursor, Meter]:
    """Run all phases from the newest checkpoint on. Returns the engine of the last, whose weights are the result, and the
    totals. ``build`` makes the engine of a phase, from the weights that the one before left.

    ``events`` is given on rank 0 only. Raises DataError when ``MAX_NONFINITE`` steps in a row had no finite gradient."""
    folder, cursor, meter = saver.newest(group) or (None, Cursor(), Meter())
    run = _Run(config, saver, meter, loss or token_loss, events)
    engine = build(config.phases[cursor.phase], None)
    if folder is not None:
        saver.load(engine, folder)
        place = f"phase {config.phases[cursor.phase].name}, step {cursor.step} of {config.phases[cursor.phase].steps}"
        run.note(f"resumed at {place}", checkpoint=str(folder))
    for number in range(cursor.phase, len(config.phases)):
        phase, plan = config.phases[number], plans[number]
        if number != cursor.phase:
            engine, cursor = build(phase, engine), replace(cursor, phase=number, step=0, updates=0)
        cursor = run.phase(engine, plan, source_of(plan), cursor)
    return engine, cursor, meter


def token_loss(supervised: Supervised, total: int) -> Tensor:
    """Summed negative log-likelihood over ``total`` (predicted tokens of the whole step, all packs and ranks).

    A pack without predicted tokens gives a zero that still reaches every parameter, so no rank misses a collective."""
    if supervised.targets.numel() == 0:
        return supervised.logits.sum() * 0.0
    return -supervised.logprobs().sum() / max(total, 1)


@dataclass(frozen=True)
class _Run:
    """What all phases share. ``events`` are those of rank 0; the others are silent."""

    config: TrainConfig
    saver: Saver
    meter: Meter
    loss: Loss
    events: EventWriter | None

    def phase(self, engine: Engine, plan: Plan, source: Source, cursor: Cursor) -> Cursor:
        """The steps of the cursor's phase from the cursor on; returns where it ends."""
        phase, guard = self.config.phases[cursor.phase], Guard()
        self.entering(phase, plan)
        started = waiting = time.perf_counter()
        self.progress(cursor)
        for packs in source.steps(cursor.step):
            self.meter.add(wait=time.perf_counter() - waiting)
            total = int(engine.sum([sum(loaded.supervised for loaded in packs)])[0])
            lr = learning_rate(phase.schedule, cursor.updates, phase.steps)
            engine.set_lr(lr)
            for loaded in packs:
                value = engine.backward(partial(self.loss, total=total), loaded.pack)["loss"]
                self.meter.count(loaded, value * total)
                for key, message in loaded.problems[:3]:
                    self.note(f"sample {key} left out: {message}", level="warning")
            result = engine.step()
            cursor = cursor.after(result.updated)
            if not result.updated:
                self.note(f"step {cursor.total_steps}: gradient not finite, skipped", level="warning")
            numbers = [loaded.number for loaded in packs]
            guard.watch(result.updated, f"phase {phase.name!r}, step {cursor.step}, packs {numbers}")
            self.progress(cursor)
            every = self.config.checkpoint_every
            due = cursor.step == phase.steps or bool(every and cursor.step % every == 0)
            if due or cursor.step % self.config.log_every == 0:  # a checkpoint holds the totals up to its step
                now = time.perf_counter()
                read, started = self.meter.read(engine, now - started), now
                self.metrics(
                    cursor, read | {"train/lr": lr, "train/grad_norm": result.grad_norm, "data/fill": plan.fill}
                )
            if due:
                self.saver.save(engine, cursor, self.meter)
                started = time.perf_counter()
            waiting = time.perf_counter()
        return cursor

    def note(self, text: str, **fields: str) -> None:
        if self.events is not None:
            self.events.emit("note", text=text, **fields)

    def entering(self, phase: Phase, plan: Plan) -> None:
        self.note(f"phase {phase.name}: {phase.steps} steps, trains {', '.join(phase.trains)}", phase=phase.name)
        passes = ", ".join(f"{name} {times:.2f}x" for name, times in sorted(plan.passes.items()))
        self.note(f"phase {phase.name} walks through {passes}")
        if plan.empty:
            self.note(f"phase {phase.name}: no samples in {', '.join(plan.empty)}", level="warning")

    def progress(self, cursor: Cursor) -> None:
        """Counts the steps of all phases, so that what is left is that of the whole."""
        if self.events is not None:
            total = sum(phase.steps for phase in self.config.phases)
            self.events.progress(cursor.total_steps, total, f"steps ({self.config.phases[cursor.phase].name})")

    def metrics(self, cursor: Cursor, values: dict[str, float]) -> None:
        if self.events is not None:
            counts = {"train/skipped_steps": cursor.skipped_steps, "train/phase": cursor.phase}
            self.events.metrics(cursor.total_steps, values | counts)
