"""Teach the vision tower glyphs: every patch says which characters it holds.

A linear head on each patch output predicts up to ``SLOTS`` characters in reading order (class 0 = none). Full-image
attention lets a patch use its neighbours where a glyph crosses a border. Two sheets of three are damaged as the documents
of the recipe are at the low level, so low corruption is familiar later.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import VisionConfig
from model.images import patchify
from model.minicpmv import Supervised
from model.pack import IMAGE_VIEW, Encoded, Pack, pack
from model.training.engine import TorchEngine
from model.vision import VisionTower, init_vision
from pipelines.core.seeds import generator
from pipelines.corruption.page import corrupt_crop
from toy.towers.glyphs import CLASSES, SLOTS, glyph_sheets

FACES = 4
"""Font faces in a pack."""
DAMAGED, GLYPH_HEIGHT = 2 / 3, 16.0


class GlyphReader(nn.Module):
    """A tower ``vpm`` with a dense head: patches ``[N, 3*P*P]`` -> logits ``[N * SLOTS, CLASSES]``."""

    def __init__(self, config: VisionConfig, seed: int) -> None:
        super().__init__()
        self.vpm = VisionTower(config)
        rng = torch.Generator().manual_seed(seed)
        init_vision(self.vpm, rng)
        head = nn.Linear(config.hidden_size, SLOTS * CLASSES)
        nn.init.zeros_(head.bias)
        nn.init.normal_(head.weight, std=0.02, generator=rng)
        self.vpm.add_module("head", head)  # belongs to the tower while it learns, as SigLIP's pooling head does

    def forward(self, pack: Pack) -> Supervised:
        logits = self.vpm.get_submodule("head")(self.vpm(pack.patches, pack.tgt_sizes)).view(-1, CLASSES)
        places = torch.arange(len(logits))
        return Supervised(logits, pack.labels, places, places)


def sheet_pack(config: VisionConfig, split: str, seed: int, number: int, sheets: int, clean: bool = False) -> Pack:
    """Pack ``number`` of glyph sheets, a multiple of ``FACES``; its labels are the classes of all slots ``[N * SLOTS]``."""
    blocks = [glyph_sheets(split, seed, number * FACES + face, sheets // FACES) for face in range(FACES)]
    images, labels = (np.concatenate(part) for part in zip(*blocks, strict=True))
    rng = generator("damage", split, seed, number)
    samples = []
    for image, slots in zip(images, torch.from_numpy(labels).long().flatten(1), strict=True):
        if not clean and rng.random() < DAMAGED:
            image = corrupt_crop(image, "low", GLYPH_HEIGHT, rng)[0]
        view = patchify(image, config.patch_size)
        nowhere = torch.zeros(1, 2, dtype=torch.long)
        samples.append(
            Encoded(slots, slots, view.patches, torch.tensor([[view.rows, view.cols]]), (IMAGE_VIEW,), nowhere)
        )
    return pack(samples)


def glyph_loss(supervised: Supervised, total: int) -> Tensor:
    """Cross-entropy over slots; empty slots weigh a quarter, as most are empty."""
    losses = F.cross_entropy(supervised.logits.float(), supervised.targets, reduction="none")
    weight = torch.where(supervised.targets > 0, 1.0, 0.25)
    return (losses * weight).sum() / weight.sum()


def glyph_accuracy(engine: TorchEngine, packs: Iterable[Pack]) -> float:
    """Share of glyph slots read right."""
    seen = [engine.forward(pack) for pack in packs]
    right = [(said.logits.argmax(-1) == said.targets)[said.targets > 0] for said in seen]
    return torch.cat(right).float().mean().item()
