"""The tree: one prompt and its completions in one row give the numbers of separate sequences, and no way of cutting a
batch changes the gradient. Packs: every group once, within budget, equally many on every rank."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from model.pack import Encoded, pack
from rl.policy import Policy
from rl.tree import Branch, PromptTensors, plan_packs, split_minibatches, tree_cost, tree_pack


@pytest.fixture(scope="module")
def policy_and_prompts(tmp_path_factory, tiny_network):
    torch.manual_seed(1)
    network, processor = tiny_network(tmp_path_factory.mktemp("tree"))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (56, 70, 3), dtype=np.uint8))
    encoded = []
    for number, question in enumerate(("what?", "how many words?", "7")):
        content = [{"type": "text", "text": question}]
        if number < 2:
            content.insert(0, {"type": "image", "part": "jpg"})
        encoded.append(
            processor.encode([{"role": "user", "content": content}], {"jpg": picture}, "short", generation=True)
        )
    return Policy.adopt(network).eval(), encoded


GROUPS = (
    ((5, 6, 7), (5,), (9, 9, 9, 9)),
    ((1, 2), (3, 4)),
    ((8,), (8, 8), (7, 8, 9)),
)


def branches(group):
    return [Branch(ids, (0.0,) * len(ids), float(i - 1)) for i, ids in enumerate(group)]


def joined(encoded: Encoded, ids: tuple[int, ...]) -> Encoded:
    """Prompt and one completion as an ordinary training sample."""
    tail = torch.tensor(ids)
    labels = torch.cat([encoded.labels, tail])
    return Encoded(
        torch.cat([encoded.input_ids, tail]),
        labels,
        encoded.patches,
        encoded.tgt_sizes,
        encoded.packages,
        encoded.image_bound,
    )


@pytest.mark.parametrize("reuse", [True, False])
def test_tree_equals_separate_sequences(policy_and_prompts, reuse):
    policy, encoded = policy_and_prompts
    rows = policy.visual_rows(encoded)
    prompts = [PromptTensors.of(str(i), e, rows[i] if reuse else None).shipped() for i, e in enumerate(encoded)]
    tree = tree_pack(prompts, [branches(group) for group in GROUPS])
    found = policy(tree).logprobs()
    apart = policy(pack([joined(e, ids) for e, group in zip(encoded, GROUPS, strict=True) for ids in group])).logprobs()
    assert torch.allclose(found, apart, atol=2e-5)
    assert tree.input_ids.shape[1] == max(tree_cost(len(p), branches(g)) for p, g in zip(prompts, GROUPS, strict=True))


def test_given_rows_replace_the_tower(policy_and_prompts, monkeypatch):
    policy, encoded = policy_and_prompts
    rows = policy.visual_rows(encoded[:2])
    expected = policy.embed(pack(encoded[:2]))
    monkeypatch.setattr(policy.vpm, "forward", None)
    with policy.giving(rows):
        assert torch.equal(policy.embed(pack(encoded[:2])), expected)
    assert policy.given is None


def test_reuse_ships_no_pixels(policy_and_prompts):
    policy, encoded = policy_and_prompts
    rows = policy.visual_rows(encoded)
    assert PromptTensors.of("a", encoded[0], rows[0]).shipped().encoded is None
    assert PromptTensors.of("a", encoded[0]).shipped().encoded is encoded[0]
    with pytest.raises(ValueError, match="visual rows"):
        PromptTensors.of("a", encoded[0], rows[0][:-1])
    mixed = [PromptTensors.of("a", encoded[0], rows[0]), PromptTensors.of("b", encoded[1])]
    with pytest.raises(ValueError, match="share a pack"):
        tree_pack(mixed, [branches(GROUPS[0]), branches(GROUPS[1])])


def test_bad_trees_are_refused(policy_and_prompts):
    _, encoded = policy_and_prompts
    prompt = PromptTensors.of("a", encoded[2])
    with pytest.raises(ValueError, match="without tokens"):
        tree_pack([prompt], [[Branch((), (), 0.0)]])
    with pytest.raises(ValueError, match="groups"):
        tree_pack([prompt], [])


@pytest.mark.parametrize("seed", range(30))
def test_packs_cover_everything_once(seed):
    draw = random.Random(seed)
    costs = [draw.randrange(1, 300) for _ in range(draw.randrange(1, 30))]
    budget, ranks = draw.randrange(50, 2000), draw.randrange(1, 5)
    plan = plan_packs(costs, budget, ranks)
    assert sorted(index for rank in plan for pack in rank for index in pack) == list(range(len(costs)))
    assert len({len(rank) for rank in plan}) == 1
    assert len(plan) == ranks
    for rows in (rows for rank in plan for rows in rank if len(rows) > 1):
        assert max(costs[index] for index in rows) * len(rows) <= budget


def test_minibatches_interleave():
    assert split_minibatches(list("abcde"), 2) == [list("ace"), list("bd")]
    assert split_minibatches(list("a"), 4) == [["a"]]
