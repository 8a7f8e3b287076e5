"""What comes out of shards: packs with the right frames, and broken samples counted instead of hidden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
from PIL import Image

from model.pack import IGNORE
from model.processor import Processor
from model.tokenizer import build_byte_tokenizer
from model.training.config import TrainConfig
from model.training.loader import Loader, encode_item
from model.training.order import Item
from model.training.plan import Plan
from pipelines.core.errors import DataError
from pipelines.media.shape import encode_clip
from pipelines.shards.index import Folder, ShardIndex
from pipelines.shards.manifest import Row
from pipelines.shards.sample import clip_content, sample_json, text_content, turn
from pipelines.shards.unit import write_unit

ONE = TrainConfig(phases=tiny.PHASES, world_size=1)


@pytest.fixture(scope="module")
def processor(tmp_path_factory) -> Processor:
    return Processor(tiny.CONFIG, build_byte_tokenizer(tmp_path_factory.mktemp("tokenizer")))


def test_a_video_is_loaded_frame_by_frame_or_in_packages(samples, processor) -> None:
    clip = samples["clips"][0]
    assert encode_item(Item(clip), processor).packages == ((-1,),) * 6
    assert encode_item(Item(clip, package=1), processor).packages == ((0,), (5,), (10,), (15,), (20,), (25,))
    assert encode_item(Item(clip, package=4), processor).packages == ((0, 5, 10, 15), (20, 25))
    assert encode_item(Item(clip, package=6, stride=2), processor).packages == ((0, 10, 20),)


def test_a_stored_clip_is_loaded_like_its_frames(processor, tmp_path) -> None:
    """``store: clip`` of the videos stage: one MP4 instead of JPEG frames, the same packages from it."""
    pictures = [Image.new("RGB", (28, 28), (40 * n, 90, 90)) for n in range(6)]
    messages = turn([clip_content(range(0, 30, 5)), text_content("What?")], "A clip.")
    said_json = sample_json("video", "train", "none", messages, {})
    parts = {"mp4": encode_clip(pictures, range(0, 30, 5), 2, 2), "json": said_json}
    row = Row("clip", "ok", "videos", "a.mp4", "", "train", "video", views=6, frames=6, width=28, height=28)
    write_unit(tmp_path, "clips-000000", [(row, parts)])
    (ref,) = ShardIndex.from_artifacts([Folder(tmp_path)]).refs
    encoded = encode_item(Item(ref, package=6, stride=2), processor)
    assert encoded.packages == ((0, 10, 20),)
    frames = {"type": "video", "parts": ["0", "2", "4"], "ticks": [0, 10, 20]}
    said = turn([frames, text_content("What?")], "A clip.")
    plain = processor.encode(said, {str(n): p for n, p in enumerate(pictures)}, mode="none", package=6)
    assert encoded.input_ids.tolist() == plain.input_ids.tolist()
    assert (encoded.patches - plain.patches).abs().mean() < 0.06


def test_a_broken_sample_is_left_out_and_named(samples, processor) -> None:
    broken = next(ref for ref in samples["cards"] if ref.key == "document-003")
    whole = [ref for ref in samples["cards"] if ref.key != "document-003"][:2]
    plan = Plan(((Item(whole[0]), Item(broken), Item(whole[1])),), 1, 0, 1.0)
    loaded = Loader(plan, processor, ONE).load_step(0)[0]
    assert loaded.samples == 2
    assert [key for key, _ in loaded.problems] == ["document-003"]
    assert loaded.supervised == loaded.pack.supervised > 0
    with pytest.raises(DataError, match="document-003"):
        Loader(plan, processor, ONE.model_copy(update={"on_error": "fail"})).load_step(0)


def test_a_pack_of_which_nothing_is_left_still_reaches_every_parameter(samples, processor) -> None:
    broken = next(ref for ref in samples["cards"] if ref.key == "document-003")
    missing = replace(samples["cards"][0], shard="/nowhere.tar")
    loaded = Loader(Plan(((Item(broken), Item(missing)),), 1, 0, 1.0), processor, ONE).load_step(0)[0]
    assert (loaded.samples, loaded.tokens, loaded.supervised, len(loaded.problems)) == (0, 0, 0, 2)
    assert bool((loaded.pack.labels == IGNORE).all())

    from model.training.loop import token_loss

    model = tiny.tiny_model().train()
    token_loss(model(loaded.pack), 7).backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_ranks_together_load_what_one_rank_loads(samples, processor) -> None:
    packs = tuple((Item(ref),) for ref in samples["prose"][:8])
    plan = Plan(packs, 4, 0, 1.0)
    two = ONE.model_copy(update={"world_size": 2})
    alone = [loaded.number for step in Loader(plan, processor, ONE).steps() for loaded in step]
    two = [
        [loaded.number for step in Loader(plan, processor, two, rank).steps() for loaded in step] for rank in range(2)
    ]
    assert alone == sorted(two[0] + two[1]) == list(range(8))
    ahead = Loader(plan, processor, ONE.model_copy(update={"prefetch": True}))
    later = [loaded.number for step in ahead.steps(1) for loaded in step]
    assert later == [4, 5, 6, 7]
