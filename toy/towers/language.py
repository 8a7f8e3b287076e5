"""Teach the tiny decoder generated text, and the habit of reading a picture before it has seen one.

It learns inside the whole model, from samples as the processor makes them; but a picture's visual rows are written, not
seen: a position may hold several tokens (narrow glyphs share a cell), and the decoder gets the blend of their embeddings,
with noise. Later the resampler only has to write such blends into those positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.minicpmv import MiniCPMV
from model.pack import Encoded, Pack, pack
from model.training.engine import TorchEngine

NOISE = 0.6
"""The most an example gets, in units of the embeddings' root mean square; a third of the examples get none."""
NOTHING = -1
Example = tuple[Encoded, np.ndarray]
"""A sample, and the tokens ``[P, slots]`` of its P visual positions (NOTHING where a position holds fewer)."""


@dataclass(frozen=True)
class CardPack(Pack):
    """``cells [P, slots]`` of all samples, and ``noise [P, D]`` in units of the embeddings' root mean square."""

    cells: Tensor
    noise: Tensor


def card_pack(examples: Sequence[Example], width: int, rng: np.random.Generator | None = None) -> CardPack:
    """Examples end to end; ``rng`` draws noise of ``width`` channels, without it there is none."""
    cells = np.concatenate([cells for _, cells in examples])
    noise = np.zeros((len(cells), width), np.float32)
    if rng is not None:
        strengths = np.maximum(0.0, rng.uniform(-0.5, 1.0, len(examples))) * NOISE
        noise = rng.standard_normal(noise.shape, dtype=np.float32)
        noise *= np.repeat(strengths, [len(cells) for _, cells in examples]).astype(np.float32)[:, None]
    packed = pack([sample for sample, _ in examples])
    return CardPack(**vars(packed), cells=torch.from_numpy(cells), noise=torch.from_numpy(noise))


class CardReader(MiniCPMV):
    """The model, with blends of token embeddings in place of what tower and resampler would write."""

    def visual(self, pack: Pack) -> Tensor:
        assert isinstance(pack, CardPack)
        table = self.llm.model.embed_tokens.weight
        rows = blend(table, pack.cells) + pack.noise * table.detach().square().mean().sqrt()
        return rows.unflatten(0, (-1, self.config.query_num))


def blend(embeddings: Tensor, ids: Tensor) -> Tensor:
    """``[..., D]``: the weighted sum of the embeddings of up to three tokens ``ids [..., slots]``; the earlier weigh
    more, so that their order can be told. Tables as ``embeddings [vocabulary, D]``. All NOTHING gives zeros."""
    weights = torch.zeros(4, max(3, ids.shape[-1]), dtype=embeddings.dtype)
    for used, row in ((1, (1.0,)), (2, (0.65, 0.35)), (3, (0.5, 0.3, 0.2))):
        weights[used, :used] = torch.tensor(row)
    held = ids != NOTHING
    chosen = weights[held.sum(-1)][..., : ids.shape[-1]] * held
    return (embeddings[ids.clamp(min=0)] * chosen[..., None]).sum(-2)


def answers_right(engine: TorchEngine, packs: Iterable[Pack]) -> tuple[float, float]:
    """Shares of supervised tokens guessed right given the true ones before them, and of samples with all of them right
    (for such a sample greedy decoding gives exactly the target)."""
    tokens, whole = [], []
    for given in packs:
        said = engine.forward(given)
        right = said.logits.argmax(-1) == said.targets
        wrong = torch.zeros(len(given.lengths)).index_add(0, said.sample, (~right).float())
        tokens.append(right)
        whole.append(wrong == 0)
    return torch.cat(tokens).float().mean().item(), torch.cat(whole).float().mean().item()
