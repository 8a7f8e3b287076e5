"""How the learner's share of a batch is cut into forward passes, and what a token of the batch is worth: pure.

The denominator of the loss is the token count of the whole batch, taken *before* the cut. Groups without information
are then left out of the computation, packs are filled to a budget and spread over ranks; none of it can move the
gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

from rl.records import Group


def split_minibatches(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """``count`` interleaved parts (group i goes to part i mod count), so that modes stay mixed. Empty parts are
    dropped."""
    parts = [list(groups[start::count]) for start in range(count)]
    return [part for part in parts if part]


def token_count(groups: Sequence[Group]) -> int:
    """Sampled tokens of all completions, informative or not: the denominator of the token mean."""
    return sum(group.rollout.tokens for group in groups)


def plan_packs(costs: Sequence[int], budget: int, ranks: int) -> list[list[tuple[int, ...]]]:
    """Row indices of every pack of every rank. A pack of r rows costs r x its widest row (rows are padded to it) and
    stays within ``budget``, unless one row alone is wider. Every rank gets equally many packs: a short rank is filled
    up with empty ones, because all ranks must run the same number of backward passes.

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
    for pack in packs:
        rank = loads.index(min(loads))
        plan[rank].append(pack)
        loads[rank] += costs[pack[0]] * len(pack)
    most = max(map(len, plan))
    return [row + [()] * (most - len(row)) for row in plan]
