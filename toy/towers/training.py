"""A tower goes through the loop that trains everything else; its packs are drawn from a seed instead of read from shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from model.pack import Pack
from model.training.config import TrainConfig
from model.training.engine import Alone, TorchEngine
from model.training.loader import Loaded
from model.training.loop import Loss, train
from model.training.phases import Optimizer, Part, Phase, Schedule
from model.training.plan import Plan
from model.training.saver import Saver
from pipelines.workflow.stage import Attempt
from toy.towers.stage import Backbone

CHECKPOINTS = "checkpoints"
OPTIMIZER = Optimizer(betas=(0.9, 0.98), weight_decay=0.05)
Draw = Callable[[int], Pack]
"""The pack of a step, a pure function of its number."""


@dataclass(frozen=True)
class Drawn:
    """What stands where the loader of shards stands: one pack a step."""

    draw: Draw
    last: int

    def steps(self, first: int = 0) -> Iterator[list[Loaded]]:
        for number in range(first, self.last):
            pack = self.draw(number)
            yield [Loaded(pack, number, len(pack.lengths), len(pack.labels), pack.supervised, len(pack.patches), ())]


def learn(
    model: nn.Module, part: Part, draw: Draw, config: Backbone, out: Attempt, loss: Loss | None = None
) -> TorchEngine:
    """Train ``part`` of the model in this process, with a cosine schedule down to 2 % of the rate; goes on from the
    newest checkpoint of an earlier attempt."""
    torch.set_num_threads(1)
    schedule = Schedule(kind="cosine", lr=config.lr, final_lr=0.02 * config.lr)
    phase = Phase(name=part, trains=(part,), steps=config.steps, schedule=schedule, weights={"drawn": 1.0})
    roots = tuple(elder / CHECKPOINTS for elder in out.elders if isinstance(elder, Path))
    settings = TrainConfig(
        phases=(phase,), optimizer=OPTIMIZER, precision=config.precision, log_every=50, checkpoint_every=500
    )
    engine, _, _ = train(
        Alone(),
        settings,
        (Plan((), 1, 0, 1.0),),
        lambda phase, _: TorchEngine(model, phase.trains, OPTIMIZER, precision=config.precision),
        lambda _: Drawn(draw, config.steps),
        Saver(out.dir / CHECKPOINTS, roots=roots),
        out.events,
        loss,
    )
    shutil.rmtree(out.dir / CHECKPOINTS)
    model.eval()
    return engine


def save_part(engine: TorchEngine, prefix: str, path: Path) -> None:
    """The tensors of one part in bfloat16, without the head that a tower has while it learns."""
    kept = {name: tensor for name, tensor in engine.export_weights().items() if name.startswith(prefix)}
    save_file({name: t.to(torch.bfloat16) for name, t in kept.items() if not name.startswith("vpm.head.")}, path)
