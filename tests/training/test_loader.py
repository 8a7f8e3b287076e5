"""What comes out of shards: packs with the right frames, and broken samples counted instead of hidden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny

from model.pack import IGNORE
from model.processor import Processor
from model.tokenizer import build_byte_tokenizer
from model.training.loader import Loader, encode_item
from model.training.plan import Item, Plan
from pipelines.core.errors import DataError


@pytest.fixture(scope="module")
def processor(tmp_path_factory) -> Processor:
    return Processor(tiny.CONFIG, build_byte_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def test_a_video_is_loaded_frame_by_frame_or_in_packages(samples, processor) -> None:
    clip = samples["clips"][0]
    assert encode_item(Item(clip), processor).packages == ((-1,),) * 6
    assert encode_item(Item(clip, package=1), processor).packages == ((0,), (5,), (10,), (15,), (20,), (25,))
    assert encode_item(Item(clip, package=4), processor).packages == ((0, 5, 10, 15), (20, 25))
    assert encode_item(Item(clip, package=6, stride=2), processor).packages == ((0, 10, 20),)


def test_a_broken_sample_is_left_out_and_named(samples, processor) -> None:
    broken = next(ref for ref in samples["cards"] if ref.key == "document-003")
    whole = [ref for ref in samples["cards"] if ref.key != "document-003"][:2]
    plan = Plan(((Item(whole[0]), Item(broken), Item(whole[1])),), 1, 0, 1.0)
    loaded = Loader(plan, processor).load_step(0)[0]
    assert loaded.samples == 2
    assert [key for key, _ in loaded.problems] == ["document-003"]
    assert loaded.supervised == loaded.pack.supervised > 0
    with pytest.raises(DataError, match="document-003"):
        Loader(plan, processor, on_error="fail").load_step(0)


def test_a_pack_of_which_nothing_is_left_still_reaches_every_parameter(samples, processor) -> None:
    broken = next(ref for ref in samples["cards"] if ref.key == "document-003")
    missing = replace(samples["cards"][0], shard="/nowhere.tar")
    loaded = Loader(Plan(((Item(broken), Item(missing)),), 1, 0, 1.0), processor).load_step(0)[0]
    assert (loaded.samples, loaded.tokens, loaded.supervised, len(loaded.problems)) == (0, 0, 0, 2)
    assert bool((loaded.pack.labels == IGNORE).all())

    from model.training.loop import token_loss

    model = tiny.tiny_model().train()
    token_loss(model(loaded.pack), 7).backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_ranks_together_load_what_one_rank_loads(samples, processor) -> None:
    packs = tuple((Item(ref),) for ref in samples["prose"][:8])
    plan = Plan(packs, 4, 0, 1.0)
    alone = [loaded.number for step in Loader(plan, processor).steps() for loaded in step]
    two = [
        [loaded.number for step in Loader(plan, processor, rank=rank, world_size=2).steps() for loaded in step]
        for rank in range(2)
    ]
    assert alone == sorted(two[0] + two[1]) == list(range(8))
    later = [loaded.number for step in Loader(plan, processor, prefetch=True).steps(1) for loaded in step]
    assert later == [4, 5, 6, 7]
