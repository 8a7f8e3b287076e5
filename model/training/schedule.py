"""Learning rates as pure functions of the step: no scheduler object, no state to save.

Worked example, ``wsd`` with lr 4, final_lr 1, warmup 3 steps, decay 3 steps, 9 steps in all::

    step   0  1  2  3  4  5  6  7  8  (9)
    lr     1  2  3  4  4  4  4  3  2  (1)

The values equal ``transformers.get_wsd_schedule`` (tested), so warm-up starts at ``final_lr`` and the rate at the
last step taken is one notch above ``final_lr``.
"""

from __future__ import annotations

import math

from model.training.phases import Schedule


def steps_of(value: float, total: int) -> int:
    """A fraction (< 1) of ``total`` steps, rounded, or a whole number of steps (>= 1)."""
    return round(value * total) if value < 1 else min(int(value), total)


def learning_rate(schedule: Schedule, step: int, total: int) -> float:
    """Rate of optimizer step ``step`` (0-based) of a phase of ``total`` steps. Pure; any step may be asked for.

    ``wsd`` (Warmup-Stable-Decay, paper section 3.1), ``cosine`` (warm-up, then half a cosine to ``final_lr``),
    ``constant`` (warm-up, then flat), ``warmup_linear`` (warm-up, then a line to ``final_lr``)."""
    if step < 0 or total <= 0:
        raise ValueError(f"step {step} of {total}: steps count from 0 and a phase has at least one")
    warmup = steps_of(schedule.warmup, total)
    if step < warmup:
        return _between(schedule, step / warmup)
    if schedule.kind == "constant":
        return schedule.lr
    if schedule.kind == "wsd":
        decay = min(steps_of(schedule.decay, total), total - warmup)
        start = total - decay
        shape = schedule.decay_shape
    else:
        start, decay = warmup, total - warmup
        shape = "cosine" if schedule.kind == "cosine" else "linear"
    if step < start:
        return schedule.lr
    progress = min((step - start) / decay, 1.0) if decay else 1.0
    factor = 0.5 * (1.0 + math.cos(math.pi * progress)) if shape == "cosine" else 1.0 - progress
    return _between(schedule, factor)


def _between(schedule: Schedule, factor: float) -> float:
    """``final_lr`` at factor 0, ``lr`` at factor 1."""
    return schedule.final_lr + (schedule.lr - schedule.final_lr) * factor
