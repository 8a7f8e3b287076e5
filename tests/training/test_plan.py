"""The global list of packs: pure, bounded, equal on all ranks, and free of test samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import tiny

from model.training.cost import Geometry
from model.training.order import Item
from model.training.phases import MixChange, Phase, Schedule
from model.training.plan import plan_phase
from pipelines.core.canonical import digest
from pipelines.core.errors import ConfigError, DataError
from pipelines.corruption.view import ONLINE
from pipelines.shards.index import SampleRef

GEOMETRY = Geometry(queries=64, scale_resolution=160, view_patches=128, max_slice_nums=1, patch_cost=0.5)


def ref(n: int, dataset: str = "cards", **changes) -> SampleRef:
    base = SampleRef(dataset, f"{dataset}.tar", f"{dataset}-{n}", n, 1, "train", "document", 1, 0, 5 + n % 40, ())
    return replace(base, **changes)


def phase(**changes) -> Phase:
    return Phase(
        **(
            {
                "name": "p",
                "trains": ("resampler",),
                "steps": 20,
                "schedule": Schedule(lr=1),
                "weights": {"cards": 3, "text": 1},
                "tokens_per_pack": 1000,
                "packs_per_step": 4,
            }
            | changes
        )
    )


REFS = {
    "cards": [ref(n) for n in range(50)],
    "text": [ref(n, "text", views=0, kind="text", text_bytes=20 + n) for n in range(30)],
}


def plan(refs=REFS, **changes):
    arguments = {"index": 0, "seed": 1, "geometry": GEOMETRY, "world_size": 2}
    return plan_phase(refs, phase(**{k: v for k, v in changes.items() if k not in arguments}),
                      **(arguments | {k: v for k, v in changes.items() if k in arguments}))  # fmt: skip


def test_every_pack_keeps_the_budget_and_is_nearly_full() -> None:
    made = plan()
    assert len(made.packs) == 80
    costs = [sum(GEOMETRY.cost(item) for item in pack) for pack in made.packs]
    assert max(costs) <= 1000
    assert made.fill == pytest.approx(sum(costs) / 80_000)
    assert made.fill > 0.93


def test_the_plan_is_a_function_of_seed_and_phase_and_not_of_the_world_size() -> None:
    assert plan() == plan(world_size=4) == plan(world_size=1)
    assert plan() != plan(seed=2)
    assert plan().packs != plan(index=1).packs


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_each_step_out_without_gap_or_overlap(world_size: int) -> None:
    made = plan()
    for step in range(20):
        parts = [made.of_rank(step, rank, world_size) for rank in range(world_size)]
        assert {len(part) for part in parts} == {4 // world_size}
        assert sorted(number for part in parts for number, _ in part) == list(range(4 * step, 4 * step + 4))


def test_the_mix_follows_the_weights() -> None:
    counts = Counter(item.ref.dataset for pack in plan(steps=50).packs for item in pack)
    assert counts["cards"] / counts["text"] == pytest.approx(3, rel=0.05)


def test_a_longer_phase_begins_like_a_shorter_one() -> None:
    assert plan(steps=30).packs[:80] == plan(steps=20).packs


def test_a_test_sample_is_refused() -> None:
    with pytest.raises(DataError, match="test sample 'cards-7'"):
        plan({**REFS, "cards": [*REFS["cards"], ref(7, split="test")]})


def test_packs_must_divide_over_the_ranks() -> None:
    with pytest.raises(ConfigError, match="does not divide over 3 ranks"):
        plan(world_size=3)


def test_an_unknown_dataset_is_an_error_and_an_empty_one_is_reported() -> None:
    with pytest.raises(ConfigError, match="no input of this step"):
        plan(weights={"crads": 1})
    assert plan({**REFS, "text": []}).empty == ("text",)
    with pytest.raises(DataError, match="nothing to train on"):
        plan({"cards": [], "text": []})


def test_samples_of_other_modes_are_left_out() -> None:
    asks = [ref(n, "asks", tags=("long" if n % 2 else "short", "count")) for n in range(20)]
    made = plan({"asks": asks}, weights={"asks": 1}, modes=("none", "short"))
    assert {item.ref.tags[0] for pack in made.packs for item in pack} == {"short"}
    both = plan({"asks": asks}, weights={"asks": 1}, modes=("none", "short", "long"))
    assert {item.ref.tags[0] for pack in both.packs for item in pack} == {"short", "long"}


def test_samples_with_an_unwanted_tag_are_left_out() -> None:
    pages = [ref(n, tags=("page" if n % 2 else "card", "text")) for n in range(20)]
    made = plan({"cards": pages}, weights={"cards": 1}, without=("page",))
    assert {item.ref.tags[0] for pack in made.packs for item in pack} == {"card"}
    with pytest.raises(DataError, match="nothing to train on"):
        plan({"cards": pages}, weights={"cards": 1}, without=("text",))


def test_a_sample_larger_than_a_pack_is_dropped_and_counted() -> None:
    made = plan({**REFS, "text": [*REFS["text"], ref(99, "text", views=0, text_bytes=5000)]})
    assert made.dropped > 0
    assert all(item.ref.text_bytes < 5000 for pack in made.packs for item in pack)
    with pytest.raises(DataError, match="no sample fits"):
        plan(tokens_per_pack=10)


def test_package_sizes_and_strides_are_drawn_for_videos_only() -> None:
    clips = [ref(n, "clips", kind="video", views=6, frames=6) for n in range(20)]
    made = plan({"clips": clips, **REFS}, weights={"clips": 1, "cards": 1}, package=(1, 6), stride=(1, 2))
    drawn = {(item.ref.dataset, item.package) for pack in made.packs for item in pack}
    assert drawn == {("cards", 0)} | {("clips", size) for size in range(1, 7)}
    flat = plan({"clips": clips, **REFS}, weights={"clips": 1, "cards": 1})
    assert {item.package for pack in flat.packs for item in pack} == {0}


def test_costs_of_a_card_a_video_and_a_sliced_page() -> None:
    card = ref(0, text_bytes=10)
    assert GEOMETRY.cost(Item(card)) == (64 + 3) + 3 + 10 + 32 + 64
    clip = ref(0, views=6, frames=6, text_bytes=10)
    assert GEOMETRY.cost(Item(clip)) == 6 * 67 + 10 + 32 + 6 * 64
    assert GEOMETRY.cost(Item(clip, package=6)) == 67 + 10 + 32 + 6 * 64
    assert GEOMETRY.cost(Item(clip, package=6, stride=2)) == 67 + 10 + 32 + 3 * 64
    page = ref(0, text_bytes=10, width=320, height=320)
    sliced = replace(GEOMETRY, max_slice_nums=9)
    assert sliced.cost(Item(page)) == 5 * 67 + 3 + 10 + 32 + 5 * 64


def test_the_estimate_is_close_to_what_the_processor_makes(samples, tmp_path) -> None:
    from model.processor import Processor
    from model.tokenizer import build_byte_tokenizer
    from model.training.loader import encode_item

    geometry = replace(Geometry.of(tiny.CONFIG), patch_cost=0.0)
    processor = Processor(tiny.CONFIG, build_byte_tokenizer(tmp_path))
    for name, refs in samples.items():
        for package in (0, 3) if name == "clips" else (0,):
            true = len(encode_item(Item(refs[0], package), processor))
            assert true <= geometry.cost(Item(refs[0], package)) <= 1.6 * true, name


def counts_of(made, first: int, last: int) -> Counter:
    return Counter(item.ref.dataset for pack in made.packs[first:last] for item in pack)


def test_a_stratified_mix_is_exact_whatever_part_of_the_phase_is_looked_at() -> None:
    weights = {"cards": 0.7, "text": 0.3}
    made = plan(steps=40, stratify=16, weights=weights)
    for first in range(0, 160, 40):
        counts = counts_of(made, first, first + 40)
        assert counts["cards"] / counts["text"] == pytest.approx(7 / 3, rel=0.12)
    assert made == plan(steps=40, stratify=16, weights=weights, world_size=4) != plan(steps=40, weights=weights)
    assert made.fill > 0.93


def test_the_mix_may_change_for_the_decay() -> None:
    change = MixChange(at=0.5, weights={"text": 1})
    made = plan(steps=40, stratify=8, changes=(change,))
    assert counts_of(made, 0, 70) == counts_of(plan(steps=40, stratify=8), 0, 70)
    late = counts_of(made, 100, 160)
    assert late["cards"] == 0 < late["text"]
    ramp = plan(steps=40, stratify=8, changes=(MixChange(at=0.25, ramp=0.5, weights={"text": 1}),))
    shares = [counts_of(ramp, n, n + 32)["text"] / counts_of(ramp, n, n + 32).total() for n in range(0, 160, 32)]
    assert shares == sorted(shares)
    assert shares[0] < 0.3 < 0.4 < shares[2] < 0.85 < shares[4]


def test_repetitions_decide_how_often_a_dataset_is_walked_through() -> None:
    made = plan(weights={}, repetitions={"cards": 1, "text": 4}, steps=60)
    assert made.passes["text"] / made.passes["cards"] == pytest.approx(4, rel=0.1)
    first = [item.ref.key for pack in made.packs for item in pack if item.ref.dataset == "cards"][:50]
    assert len(set(first)) > 35  # an epoch shows each once; packing moves some past its end


def test_a_changing_mix_names_datasets_that_are_no_input() -> None:
    with pytest.raises(ConfigError, match="'typo', which is no input"):
        plan(stratify=4, changes=(MixChange(at=0.5, weights={"typo": 1}),))
    with pytest.raises(DataError, match="mix at 50%"):
        plan(
            {**REFS, "none": []},
            stratify=4,
            changes=(MixChange(at=0.5, weights={"none": 1}),),
        )


def packs_digest(made) -> str:
    """Of which sample stands where and how it is visited, and of the counts beside; not of where the shards lie."""
    packs = [[(i.ref.dataset, i.ref.key, i.package, i.stride, i.draw) for i in pack] for pack in made.packs]
    return digest([packs, made.packs_per_step, made.dropped, made.fill, made.empty, sorted(made.passes.items())])


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize(
    ("stratify", "wanted"),
    [(0, "3d40b6a2b0ad59dc"), (6, "926078d6dc2d0e7d")],
)
def test_a_job_has_the_packs_it_always_had(samples, stratify: int, wanted: str, world_size: int) -> None:
    """A checkpoint's place in the data is two numbers: they mean the same samples only while the plan stays as it is."""
    geometry = Geometry.of(tiny.CONFIG)
    plans = [
        plan_phase(samples, mixed, index=index, seed=seed, geometry=geometry, world_size=world_size)
        for seed in (0, 3, 11)
        for index, mixed in enumerate(phase.model_copy(update={"stratify": stratify}) for phase in tiny.PHASES)
    ]
    assert digest([packs_digest(made) for made in plans])[:16] == wanted


def test_draws_changes_and_repetitions_keep_their_packs() -> None:
    pages = {**REFS, "cards": [ref(n, tags=(ONLINE,) if n % 3 else ()) for n in range(50)]}
    changes = (MixChange(at=0.25, ramp=0.5, weights={"text": 1}),)
    made = [
        plan(pages),
        plan(pages, stratify=8, changes=changes, steps=40),
        plan(pages, weights={}, repetitions={"cards": 0.5, "text": 3}, tokens_per_pack=260),
    ]
    assert digest([packs_digest(one) for one in made])[:16] == "af7ce79d3e95ac87"
