"""Packs: every group once, within budget, equally many on every rank."""

import random

import pytest

from rl.microbatch import plan_packs, split_minibatches


@pytest.mark.parametrize("seed", range(30))
def test_packs_cover_everything_once(seed):
    draw = random.Random(seed)
    costs = [draw.randrange(1, 300) for _ in range(draw.randrange(1, 30))]
    budget, ranks = draw.randrange(50, 2000), draw.randrange(1, 5)
    plan = plan_packs(costs, budget, ranks)
    assert sorted(index for rank in plan for pack in rank for index in pack) == list(range(len(costs)))
    assert len({len(rank) for rank in plan}) == 1
    assert len(plan) == ranks
    for pack in (pack for rank in plan for pack in rank if len(pack) > 1):
        assert max(costs[index] for index in pack) * len(pack) <= budget


def test_minibatches_interleave():
    assert split_minibatches(list("abcde"), 2) == [list("ace"), list("bd")]
    assert split_minibatches(list("a"), 4) == [["a"]]
