"""The completions of one prompt, laid behind one copy of it: what the learner's forward pass reads. A mask lets each see the
prompt and itself, and positions restart behind the prompt, so the numbers are those of separate sequences (at tiny size,
90 prompt tokens and 8 x 5 answer tokens: 130 tokens instead of 760).

    row:        p0 p1 p2 | a0 a1 | b0 b1 b2          a, b: two completions of prompt p
    positions:   0  1  2 |  3  4 |  3  4  5          b1 sees p0 p1 p2, b0 b1
    predicts:   p2 -> a0, p2 -> b0, a0 -> a1, ...    the last token of a completion predicts nothing
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.pack import Encoded, Pack, pack
from rl.records import Group


@dataclass(frozen=True)
class PromptTensors:
    """A prompt as the model reads it: ids [T] and the columns [V] that hold resampler rows.

    Where nothing before the language model trains, ``visual`` [V, hidden] are those rows, computed once by the rollout
    worker and used for every completion and by the learner. ``encoded`` carries the pixels; ``shipped`` drops what the
    learner does not need.
    """

    uid: str
    input_ids: Tensor
    visual_positions: Tensor
    visual: Tensor | None = None
    encoded: Encoded | None = None

    @classmethod
    def of(cls, uid: str, encoded: Encoded, visual: Tensor | None = None) -> PromptTensors:
        """Raises ValueError when the rows do not fill the prompt's visual positions."""
        spans = [torch.arange(int(start), int(stop)) for start, stop in encoded.image_bound.tolist()]
        places = torch.cat(spans) if spans else torch.zeros(0, dtype=torch.long)
        if visual is not None and len(visual) != len(places):
            raise ValueError(f"prompt {uid}: {len(visual)} visual rows for {len(places)} positions")
        return cls(uid, encoded.input_ids, places, visual, encoded)

    def shipped(self) -> PromptTensors:
        """Without the pixels where the visual rows stand for them."""
        return replace(self, encoded=None, visual=self.visual.cpu()) if self.visual is not None else self

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True)
class TreePack:
    """B prompts with their completions, padded to L columns; K predicted tokens.

    ``input_ids``, ``position_ids`` int64 [B, L]; ``allowed`` bool [B, 1, L, L] (row may see column); ``visual`` [V,
    hidden] with ``visual_positions`` [V] in the flattened B*L, or ``prompts`` (a Pack of the bare prompts) with
    ``prompt_positions`` [T]; ``predictors`` int64 [K] in the flattened B*L; ``targets`` int64 [K]; ``sample`` int64
    [K], the row a token belongs to; ``behaviour`` and ``advantages`` float32 [K].
    """

    input_ids: Tensor
    position_ids: Tensor
    allowed: Tensor
    visual: Tensor | None
    visual_positions: Tensor
    prompts: Pack | None
    prompt_positions: Tensor
    predictors: Tensor
    targets: Tensor
    sample: Tensor
    behaviour: Tensor
    advantages: Tensor

    def to(self, device: torch.device | str) -> TreePack:
        return replace(self, **{name: value.to(device) for name, value in vars(self).items() if value is not None})


@dataclass(frozen=True)
class Branch:
    """One completion of a prompt: its ids, the sampler's log-probabilities, and its advantage."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    advantage: float


def tree_cost(prompt_length: int, branches: Sequence[Branch]) -> int:
    """Columns a prompt needs: its own tokens and all but the last token of each completion."""
    return prompt_length + sum(max(0, len(branch.token_ids) - 1) for branch in branches)


def tree_pack(prompts: Sequence[PromptTensors], groups: Sequence[Sequence[Branch]]) -> TreePack:
    """Lay out prompts and their completions. Raises ValueError for unequal counts or an empty completion."""
    if len(prompts) != len(groups):
        raise ValueError(f"{len(prompts)} prompts but {len(groups)} groups of completions")
    if any(not branch.token_ids for group in groups for branch in group):
        raise ValueError("a completion without tokens predicts nothing")
    lengths = [len(prompt) for prompt in prompts]
    columns = max(tree_cost(length, group) for length, group in zip(lengths, groups, strict=True))
    input_ids = torch.zeros(len(prompts), columns, dtype=torch.long)
    position_ids = torch.zeros_like(input_ids)
    allowed = torch.eye(columns, dtype=torch.bool).repeat(len(prompts), 1, 1)  # padding sees itself: no empty softmax
    predictors: list[int] = []
    targets: list[int] = []
    sample: list[int] = []
    behaviour: list[float] = []
    advantages: list[float] = []
    for row, (prompt, length, group) in enumerate(zip(prompts, lengths, groups, strict=True)):
        base = row * columns
        input_ids[row, :length] = prompt.input_ids
        position_ids[row, :length] = torch.arange(length)
        allowed[row, :length, :length] = torch.ones(length, length, dtype=torch.bool).tril()
        start = length
        for branch in group:
            inner = len(branch.token_ids) - 1
            stop = start + inner
            input_ids[row, start:stop] = torch.tensor(branch.token_ids[:inner], dtype=torch.long)
            position_ids[row, start:stop] = torch.arange(length, length + inner)
            allowed[row, start:stop, :length] = True
            allowed[row, start:stop, start:stop] = torch.ones(inner, inner, dtype=torch.bool).tril()
            predictors += [base + length - 1, *range(base + start, base + stop)]
            targets += branch.token_ids
            sample += [row] * (inner + 1)
            behaviour += branch.logprobs
            advantages += [branch.advantage] * (inner + 1)
            start = stop
    pixels = [prompt.encoded for prompt in prompts if prompt.visual is None and prompt.encoded is not None]
    if len(pixels) not in (0, len(prompts)):
        raise ValueError("some prompts carry pixels and some carry visual rows: they cannot share a pack")
    places = [prompt.visual_positions + row * columns for row, prompt in enumerate(prompts)]
    spread = [torch.arange(length) + row * columns for row, length in enumerate(lengths)]
    return TreePack(
        input_ids=input_ids,
        position_ids=position_ids,
        allowed=allowed.unsqueeze(1),
        visual=None if pixels else torch.cat([prompt.visual for prompt in prompts if prompt.visual is not None]),
        visual_positions=torch.cat(places),
        prompts=pack(pixels) if pixels else None,
        prompt_positions=torch.cat(spread),
        predictors=torch.tensor(predictors),
        targets=torch.tensor(targets),
        sample=torch.tensor(sample),
        behaviour=torch.tensor(behaviour, dtype=torch.float32),
        advantages=torch.tensor(advantages, dtype=torch.float32),
    )


def split_minibatches(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """``count`` interleaved parts, so that modes stay mixed. Empty parts are dropped."""
    return [list(groups[start::count]) for start in range(min(count, len(groups)))]


def plan_packs(costs: Sequence[int], budget: int, ranks: int) -> list[list[tuple[int, ...]]]:
    """How a batch is cut into forward passes: row indices of every pack of every rank. (The denominator of the loss is taken
    *before* the cut, so none of this can move the gradient.) A pack of r rows costs r x its widest row (rows are padded to
    it) and stays within ``budget``, unless one row alone is wider. Every rank gets equally many packs: a short rank is
    filled up with empty ones, because all ranks must run the same number of backward passes.

    >>> plan_packs([10, 90, 20, 80], budget=180, ranks=1)
    [[(1, 3), (2, 0)]]
    """
    if budget < 1 or ranks < 1:
        raise ValueError(f"budget {budget} and ranks {ranks} must be at least 1")
    packs: list[tuple[int, ...]] = []
    current: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        if current and costs[current[0]] * (len(current) + 1) > budget:
            packs.append(tuple(current))
            current = []
        current.append(index)
    if current:
        packs.append(tuple(current))
    loads = [0] * ranks
    plan: list[list[tuple[int, ...]]] = [[] for _ in range(ranks)]
    for rows in packs:
        rank = loads.index(min(loads))
        plan[rank].append(rows)
        loads[rank] += costs[rows[0]] * len(rows)
    most = max(map(len, plan))
    return [row + [()] * (most - len(row)) for row in plan]
