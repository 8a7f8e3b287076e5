"""Teach the vision tower glyphs: every patch says which characters it holds.

A linear head on each patch output predicts up to ``slots`` characters in reading order (class 0 = none). Full-image
attention lets a patch use its neighbours where a glyph crosses a border. Sheets are degraded at random (noise, blur,
down-up sampling, fading) with the same strengths whatever the content, so low corruption is familiar later.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import VisionConfig
from model.training.engine import Precision, autocast
from model.vision import VisionTower, init_vision

CPU = torch.device("cpu")


@dataclass(frozen=True)
class VisionPlan:
    """``seconds`` is not part of it on purpose: the result is a function of ``steps``."""

    steps: int
    batch: int = 24
    lr: float = 1.5e-3
    warmup: int = 100
    weight_decay: float = 0.02
    seed: int = 0
    precision: Precision = "fp32"


class GlyphReader(nn.Module):
    """Tower plus dense head: ``[V views of equal size] -> logits [V*L, slots, classes]``."""

    def __init__(self, config: VisionConfig, slots: int, classes: int) -> None:
        super().__init__()
        self.tower = VisionTower(config)
        self.slots = slots
        self.head = nn.Linear(config.hidden_size, slots * classes)

    def forward(self, patches: Tensor, tgt_sizes: Tensor) -> Tensor:
        return self.head(self.tower(patches, tgt_sizes)).unflatten(-1, (self.slots, -1))


def patchify(images: Tensor, patch: int) -> Tensor:
    """``[B, 3, H, W] -> [B*L, 3*P*P]``, patches row-major, numbers in the order of the convolution weight."""
    b, c, h, w = images.shape
    x = images.reshape(b, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b * (h // patch) * (w // patch), c * patch * patch)


def degrade(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random fading, blur, down-up sampling and noise on ``[B, 3, H, W]`` in [0, 1]; a third stays nearly clean."""

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    b = len(images)
    pick = draw(b, 1, 1, 1)
    mean = images.mean(dim=(2, 3), keepdim=True)
    fade = 1 - 0.5 * draw(b, 1, 1, 1) * (draw(b, 1, 1, 1) < 0.4)
    x = mean + (images - mean) * fade
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    small = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
    x = torch.where(pick < 0.2, blurred, torch.where(pick < 0.35, small, x))
    sigma = 0.22 * draw(b, 1, 1, 1) * (draw(b, 1, 1, 1) < 0.65)
    return (x + sigma * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def glyph_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy over slots; empty slots weigh a quarter, as most are empty."""
    weight = torch.where(labels > 0, 1.0, 0.25)
    losses = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
    return (losses * weight.flatten()).sum() / weight.sum()


def train_tower(
    config: VisionConfig,
    plan: VisionPlan,
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    report: Callable[[int, dict[str, float]], None],
) -> GlyphReader:
    """Train on sheets ``[S, H, W, 3]`` uint8 with labels ``[S, rows, cols, slots]``. One process."""
    generator = torch.Generator().manual_seed(plan.seed)
    model = GlyphReader(config, labels.shape[-1], classes)
    init_vision(model.tower, generator)
    nn.init.zeros_(model.head.bias)
    model.head.weight.data.normal_(std=0.02, generator=generator)
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": plan.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=plan.lr,
        betas=(0.9, 0.98),
        fused=True,
    )
    rows, cols = labels.shape[1:3]
    sizes = torch.tensor([[rows, cols]] * plan.batch)
    order = torch.randperm(len(images), generator=generator)
    cursor = 0
    for step in range(plan.steps):
        if cursor + plan.batch > len(order):
            order, cursor = torch.randperm(len(images), generator=generator), 0
        chosen = order[cursor : cursor + plan.batch].numpy()
        cursor += plan.batch
        pixels = torch.from_numpy(images[chosen]).permute(0, 3, 1, 2).float().div_(255)
        x = patchify(degrade(pixels, generator).sub_(0.5).div_(0.5), config.patch_size)
        target = torch.from_numpy(labels[chosen]).long().flatten(0, 2)
        rate = (
            plan.lr
            * min(1.0, (step + 1) / plan.warmup)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / plan.steps)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        with autocast(CPU, plan.precision):
            logits = model(x, sizes)
        loss = glyph_loss(logits, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == plan.steps - 1:
            found = target > 0
            right = (logits.argmax(-1) == target)[found].float().mean()
            report(
                step, {"train/loss": loss.item(), "train/glyph_accuracy": right.item(), "train/grad_norm": norm.item()}
            )
    return model


@torch.no_grad()
def glyph_accuracy(model: GlyphReader, images: np.ndarray, labels: np.ndarray, precision: Precision) -> float:
    """Share of glyph slots read right on clean sheets."""
    right = total = 0
    for start in range(0, len(images), 32):
        part = images[start : start + 32]
        pixels = torch.from_numpy(part).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)
        sizes = torch.tensor([list(labels.shape[1:3])] * len(part))
        with autocast(CPU, precision):
            logits = model(patchify(pixels, model.tower.config.patch_size), sizes)
        target = torch.from_numpy(labels[start : start + 32]).long().flatten(0, 2)
        found = target > 0
        right += int((logits.argmax(-1) == target)[found].sum())
        total += int(found.sum())
    return right / max(total, 1)
