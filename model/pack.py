"""Samples laid end to end: one sequence of tokens, one sequence of patches, no padding anywhere.

``Encoded`` is one sample as the processor makes it; ``Pack`` is several of them in one training sequence. Attention
stays inside a sample (``cu_seqlens``), positions restart with each one, and every visual row is addressed by its place
in the packed sequence, counted by *packages* (counting by views is the released code's batch defect, golden trap 6).

Example: samples of 5 and 3 tokens give cu_seqlens (0, 5, 8) and position_ids 0 1 2 3 4 0 1 2.
Letters: T tokens, S samples, V views, N patches, G visual packages of Q tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

IGNORE = -100
IMAGE_VIEW = (-1,)  # ticks of an image view: one view, no temporal term


def _no_patches() -> Tensor:
    return torch.zeros(0, 0)


def _no_pairs() -> Tensor:
    return torch.zeros(0, 2, dtype=torch.long)


@dataclass(frozen=True)
class Encoded:
    """One sample. Text-only ones need just ids and labels.

    input_ids ``[T]``; labels ``[T]`` equal to input_ids where supervised, else -100 (no shift); patches
    ``[N, 3*P*P]`` float32 of all views; tgt_sizes ``[V, 2]`` (rows, cols); packages: the ticks (0.1 s) of the views
    that share Q tokens, (-1,) for an image view; image_bound ``[G, 2]``: half-open token spans, one per package.
    """

    input_ids: Tensor
    labels: Tensor
    patches: Tensor = field(default_factory=_no_patches)
    tgt_sizes: Tensor = field(default_factory=_no_pairs)
    packages: tuple[tuple[int, ...], ...] = ()
    image_bound: Tensor = field(default_factory=_no_pairs)

    def __post_init__(self) -> None:
        views = sum(map(len, self.packages))
        if self.labels.shape != self.input_ids.shape:
            raise ValueError(f"{len(self.input_ids)} input ids but {len(self.labels)} labels")
        if views != len(self.tgt_sizes) or len(self.packages) != len(self.image_bound):
            raise ValueError(
                f"{len(self.packages)} packages of {views} views, but {len(self.tgt_sizes)} sizes and "
                f"{len(self.image_bound)} spans"
            )
        rows = int(self.tgt_sizes.prod(1).sum())
        if rows != len(self.patches):
            raise ValueError(f"tgt_sizes name {rows} patches, but there are {len(self.patches)}")

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class Pack:
    """Several samples end to end. ``cu_seqlens`` ``[S+1]`` and ``tgt_sizes`` stay on the CPU: they steer Python."""

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    cu_seqlens: Tensor
    patches: Tensor
    tgt_sizes: Tensor
    packages: tuple[tuple[int, ...], ...]
    visual_positions: Tensor

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sample."""
        return self.cu_seqlens.diff().tolist()

    @property
    def supervised(self) -> int:
        """Tokens that enter the loss (the first token of a sample has nothing before it)."""
        kept = self.labels != IGNORE
        return int(kept.sum()) - int(kept[self.cu_seqlens[:-1].to(kept.device)].sum())

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Pack:
        """A copy on ``device``; ``dtype`` applies to the patches."""
        return replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=True),
            position_ids=self.position_ids.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            patches=self.patches.to(device, dtype, non_blocking=True),
            visual_positions=self.visual_positions.to(device, non_blocking=True),
        )


def pack(samples: Sequence[Encoded]) -> Pack:
    """Lay samples end to end in the order given. Raises ValueError for no samples or an empty one."""
    if not samples or any(len(sample) == 0 for sample in samples):
        raise ValueError("a pack needs at least one sample, and no sample may be empty")
    lengths = torch.tensor([len(sample) for sample in samples])
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    bounds = torch.cat([sample.image_bound + start for sample, start in zip(samples, starts.tolist(), strict=False)])
    seen = [sample.patches for sample in samples if len(sample.patches)]
    return Pack(
        input_ids=torch.cat([sample.input_ids for sample in samples]),
        position_ids=torch.cat([torch.arange(length) for length in lengths.tolist()]),
        labels=torch.cat([sample.labels for sample in samples]),
        cu_seqlens=starts,
        patches=seen[0] if len(seen) == 1 else torch.cat(seen) if seen else _no_patches(),
        tgt_sizes=torch.cat([sample.tgt_sizes for sample in samples]),
        packages=tuple(package for sample in samples for package in sample.packages),
        visual_positions=torch.cat([torch.arange(a, b) for a, b in bounds.tolist()]) if len(bounds) else starts[:0],
    )
