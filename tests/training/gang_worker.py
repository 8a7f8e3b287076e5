"""One rank of a two-process gloo gang, started by the tests as a script: ``gang_worker.py scenario folder``.

Each scenario trains the tiny model with DeepSpeed and saves what the test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

import tiny  # noqa: E402

from model.checkpoint import load_weights, write_weights  # noqa: E402
from model.training.engine_deepspeed import DeepSpeedEngine  # noqa: E402
from model.training.loop import token_loss  # noqa: E402
from model.training.phases import Optimizer  # noqa: E402

GROUPS = [[1, 2], [3, 4, 5], [6], [7, 8]]  # four packs a step; rank r takes r, r + 2
TEXT_ONLY = (6,)  # rank 0's second pack has no picture


def train_steps(engine, steps: int) -> list[float]:
    packs = tiny.packs(GROUPS, TEXT_ONLY)
    total = sum(pack.supervised for pack in packs)
    norms = []
    for _ in range(steps):
        engine.set_lr(1e-3)
        for pack in packs[engine.rank :: engine.world_size]:
            engine.backward(lambda supervised: token_loss(supervised, total), pack)
        norms.append(engine.step().grad_norm)
    return norms


def scenario_steps(folder: Path, zero_stage: int) -> None:
    """Two phases with a rebuild between, a checkpoint in the second, two steps more; then again from the checkpoint."""
    settings = Optimizer(eps=1e-3)
    first = DeepSpeedEngine(tiny.tiny_model(), ("resampler",), settings, zero_stage=zero_stage)
    norms = train_steps(first, 2)
    weights = first.export_weights(each_machine=True)
    if weights:
        write_weights(folder / f"phase-{zero_stage}.safetensors", weights, tiny.CONFIG)
    first.barrier()
    first.close()
    model = load_weights(tiny.CONFIG, folder / f"phase-{zero_stage}.safetensors")
    engine = DeepSpeedEngine(model, ("resampler", "vision", "language"), settings, zero_stage=zero_stage)
    norms += train_steps(engine, 2)
    (folder / "checkpoint").mkdir(exist_ok=True)
    engine.save(folder / "checkpoint")
    norms += train_steps(engine, 2)
    weights = engine.export_weights()
    engine.load(folder / "checkpoint")
    again = train_steps(engine, 2)
    resumed = engine.export_weights()
    bad = tiny.packs(GROUPS, TEXT_ONLY)[engine.rank]
    factor = float("nan") if engine.rank == 1 else 1.0  # one rank breaks, all must skip
    engine.set_lr(1e-3)
    engine.backward(lambda supervised: token_loss(supervised, 1) * factor, bad)
    skipped = engine.step()
    after = engine.export_weights()
    recovered = train_steps(engine, 1)
    if engine.rank == 0:
        torch.save(
            {
                "norms": norms,
                "again": again,
                "weights": weights,
                "resumed": resumed,
                "after_bad": after,
                "updated": skipped.updated,
                "recovered": recovered,
            },
            folder / f"zero-{zero_stage}.pt",
        )
    engine.barrier()
    engine.close()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for stage in sys.argv[2:]:
        scenario_steps(Path(sys.argv[1]), int(stage))
