"""The training loop: a plain function over an Engine, a plan and a loader. It knows no Ray and no DeepSpeed.

A step: this rank's packs are decoded, the number of predicted tokens is summed over the ranks once, every pack adds the
gradient of (its summed token losses / that number), the engine updates. So the update does not depend on how samples
fall into packs and ranks. A non-finite gradient skips the step on all ranks alike, is counted, and does not advance the
schedule; ``MAX_NONFINITE`` in a row end the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from model.training import checkpoints
from model.training.checkpoints import Progress
from model.training.engine import Engine
from model.training.phases import Phase
from model.training.plan import Plan
from model.training.schedule import learning_rate
from pipelines.core.errors import DataError
from pipelines.core.events import EventWriter

if TYPE_CHECKING:
    from model.minicpmv import Supervised
    from model.training.loader import Loaded


MAX_NONFINITE = 5
Loss = Callable[..., Tensor]
"""``loss(supervised, total=...)``: what a pack adds to the loss of a step of so many predicted tokens (``token_loss``)."""


class Source(Protocol):
    """Where packs come from: the loader of shards, or what a toy draws."""

    def steps(self, first: int) -> Iterator[list[Loaded]]:
        """This rank's packs of each optimizer step from ``first`` on."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """How often to log (steps) and to write a checkpoint (steps; a phase's end always does, 0 = only there), where,
    which job may adopt it (``fingerprint``), and ``roots`` of earlier attempts to look for one."""

    checkpoints: Path
    fingerprint: str = ""
    roots: tuple[Path, ...] = ()
    log_every: int = 10
    checkpoint_every: int = 100


@dataclass
class _Window:
    """Sums since the last log line, of this rank."""

    loss: float = 0.0
    supervised: int = 0
    tokens: int = 0
    patches: int = 0
    samples: int = 0
    skipped: int = 0
    packs: int = 0
    wait: float = 0.0
    started: float = 0.0


def train(
    engine: Engine,
    phases: Sequence[Phase],
    plans: Sequence[Plan],
    loader_of: Callable[[Plan], Source],
    settings: LoopSettings,
    events: EventWriter | None = None,
    loss: Loss | None = None,
) -> Progress:
    """Run all phases from the newest checkpoint on. Returns the totals; the weights stay in ``engine``.

    ``events`` is given on rank 0 only. Raises DataError when ``MAX_NONFINITE`` steps in a row had no finite gradient.
    """
    progress = _resume(engine, phases, settings, events)
    for number in range(progress.phase, len(phases)):
        phase, plan = phases[number], plans[number]
        if progress.phase != number or not progress.step:  # a resumed phase is already set up
            progress = replace(progress, phase=number, step=0, updates=0)
            engine.set_trainable(phase.trains, phase.lr_scale)
        if events is not None:
            events.emit(
                "note",
                text=f"phase {phase.name}: {phase.steps} steps, trains {', '.join(phase.trains)}",
                phase=phase.name,
            )
            walked = ", ".join(f"{name} {times:.2f}x" for name, times in sorted(plan.passes.items()))
            events.emit("note", text=f"phase {phase.name} walks through {walked}")
            if plan.empty:
                events.emit("note", text=f"phase {phase.name}: no samples in {', '.join(plan.empty)}", level="warning")
        total = sum(each.steps for each in phases)
        _run_phase(engine, phase, plan, loader_of(plan), progress, settings, events, total, loss or token_loss)
    return progress


def token_loss(supervised: Supervised, total: int) -> Tensor:
    """Summed negative log-likelihood over ``total`` (predicted tokens of the whole step, all packs and ranks).

    A pack without predicted tokens gives a zero that still reaches every parameter, so no rank misses a collective."""
    if supervised.targets.numel() == 0:
        return supervised.logits.sum() * 0.0
    return -supervised.logprobs().sum() / max(total, 1)


def _run_phase(
    engine: Engine,
    phase: Phase,
    plan: Plan,
    loader: Source,
    progress: Progress,
    settings: LoopSettings,
    events: EventWriter | None,
    total_steps: int,
    loss: Loss,
) -> None:
    window = _Window(started=time.perf_counter())
    bad_in_a_row = 0
    waiting = time.perf_counter()
    _tell(progress, total_steps, phase, events)
    for packs in loader.steps(progress.step):
        window.wait += time.perf_counter() - waiting
        total = int(engine.sum([sum(loaded.supervised for loaded in packs)])[0])
        lr = learning_rate(phase.schedule, progress.updates, phase.steps)
        engine.set_lr(lr)
        for loaded in packs:
            value = engine.backward(partial(loss, total=total), loaded.pack)["loss"]
            window.loss += value * total
            _count(window, loaded, events)
        result = engine.step()
        progress.step += 1
        progress.total_steps += 1
        if result.updated:
            progress.updates += 1
            bad_in_a_row = 0
        else:
            progress.skipped_steps += 1
            bad_in_a_row += 1
            if events is not None:
                events.emit("note", text=f"step {progress.total_steps}: gradient not finite, skipped", level="warning")
            if bad_in_a_row >= MAX_NONFINITE:
                raise DataError(
                    f"{bad_in_a_row} steps in a row had no finite gradient",
                    where=f"phase {phase.name!r}, step {progress.step}, packs {[loaded.number for loaded in packs]}",
                    do="lower the learning rate, or look at these samples; a rerun starts from the last checkpoint",
                )
        _tell(progress, total_steps, phase, events)
        last = progress.step == phase.steps
        due = last or bool(settings.checkpoint_every and progress.step % settings.checkpoint_every == 0)
        if due or progress.step % settings.log_every == 0:  # a checkpoint holds the totals up to its step
            _report(engine, phase, plan, progress, window, lr, result.grad_norm, events)
            window = _Window(started=time.perf_counter())
        if due:
            _save(engine, progress, settings)
        waiting = time.perf_counter()


def _tell(progress: Progress, total: int, phase: Phase, events: EventWriter | None) -> None:
    """Progress counts the steps of all phases, so that what is left is that of the whole."""
    if events is not None:
        events.progress(progress.total_steps, total, f"steps ({phase.name})")


def _count(window: _Window, loaded: Loaded, events: EventWriter | None) -> None:
    window.supervised += loaded.supervised
    window.tokens += loaded.tokens
    window.patches += loaded.patches
    window.samples += loaded.samples
    window.skipped += len(loaded.problems)
    window.packs += 1
    if events is not None:
        for key, message in loaded.problems[:3]:
            events.emit("note", text=f"sample {key} left out: {message}", level="warning")


def _report(
    engine: Engine,
    phase: Phase,
    plan: Plan,
    progress: Progress,
    window: _Window,
    lr: float,
    grad_norm: float,
    events: EventWriter | None,
) -> None:
    """Sum the window over the ranks, add it to the totals, write one line of metrics on rank 0."""
    loss, supervised, tokens, patches, samples, skipped, packs, wait = engine.sum(
        [
            window.loss,
            window.supervised,
            window.tokens,
            window.patches,
            window.samples,
            window.skipped,
            window.packs,
            window.wait,
        ]
    )
    seconds = time.perf_counter() - window.started
    progress.samples += int(samples)
    progress.tokens += int(tokens)
    progress.supervised += int(supervised)
    progress.skipped_samples += int(skipped)
    progress.seconds += seconds
    mean = loss / max(supervised, 1)
    progress.losses.append(mean)
    if events is None:
        return
    events.metrics(
        progress.total_steps,
        {
            "train/loss": mean,
            "train/lr": lr,
            "train/grad_norm": grad_norm,
            "train/tokens_per_s": tokens / seconds,
            "train/samples_per_s": samples / seconds,
            "train/samples": progress.samples,
            "train/tokens": progress.tokens,
            "train/skipped_steps": progress.skipped_steps,
            "train/phase": progress.phase,
            "data/samples_per_pack": samples / max(packs, 1),
            "data/tokens_per_pack": tokens / max(packs, 1),
            "data/patches_per_pack": patches / max(packs, 1),
            "data/supervised_share": supervised / max(tokens, 1),
            "data/fill": plan.fill,
            "data/skipped_samples": progress.skipped_samples,
            "data/wait_share": wait / engine.world_size / seconds,
        },
    )


def _save(engine: Engine, progress: Progress, settings: LoopSettings) -> None:
    """Every rank writes its files, then rank 0 the manifest; older checkpoints go when the new one is whole."""
    folder = settings.checkpoints / f"step-{progress.total_steps:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    engine.save(folder)
    torch.save(torch.get_rng_state(), folder / f"random-{engine.rank}.pt")
    engine.barrier()
    if engine.rank == 0:
        checkpoints.write_manifest(folder, progress, settings.fingerprint, engine.world_size)
        checkpoints.keep_last(settings.checkpoints)
    engine.barrier()


def _resume(engine: Engine, phases: Sequence[Phase], settings: LoopSettings, events: EventWriter | None) -> Progress:
    """Load the newest whole checkpoint of this or an earlier attempt, or start from the beginning."""
    found = checkpoints.newest((*settings.roots, settings.checkpoints), settings.fingerprint, engine.world_size)
    engine.barrier()  # all ranks have looked before anyone writes
    if found is None:
        return Progress()
    folder, progress = found
    changed = checkpoints.changed_files(folder, engine.rank, engine.world_size)
    if engine.sum([len(changed)])[0]:
        raise DataError(
            "a checkpoint file changed after it was written",
            where=", ".join(str(folder / name) for name in changed) or f"{folder}, seen by another rank",
            do="remove that checkpoint folder; training goes on from the one before, or from the start",
        )
    phase = phases[progress.phase]
    engine.set_trainable(phase.trains, phase.lr_scale)
    engine.load(folder)
    torch.set_rng_state(torch.load(folder / f"random-{engine.rank}.pt", weights_only=True))
    if events is not None:
        events.emit(
            "note", text=f"resumed at phase {phase.name}, step {progress.step} of {phase.steps}", checkpoint=str(folder)
        )
    return progress
