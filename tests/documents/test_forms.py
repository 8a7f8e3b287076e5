"""Other forms of the same pages: clean pages for online draws, the parser baseline, one region, coordinates."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pymupdf
import pytest
from PIL import Image
from pydantic import ValidationError
from stage_runs import run_stage_inprocess

from cookhouse.stages.documents import DocumentShards, build_document_shards
from model.training.cost import Geometry
from model.training.loader import _drawn
from model.training.order import Item
from model.training.phases import Phase, Schedule
from model.training.plan import plan_phase
from pipelines.shards.index import ShardIndex
from pipelines.shards.read import read_sample
from pipelines.workflow.artifact import Artifact

MakePdf = Callable[..., Path]


@pytest.fixture
def folder(make_pdf: MakePdf) -> Path:
    def draw(page: pymupdf.Page) -> None:
        page.insert_text((40, 60), "A heading", fontsize=16)
        for row in range(5):
            text = f"Paragraph {row} of this page says how things are and why they are so"
            page.insert_textbox((40, 90 + 90 * row, 380, 160 + 90 * row), text, fontsize=12)

    return make_pdf("in/a.pdf", [draw] * 3).parent


def build(folder: Path, store: Path, **options: Any) -> Artifact:
    return run_stage_inprocess(build_document_shards, DocumentShards(source=str(folder), **options), {}, store)


def parts_of(artifact: Artifact) -> list[dict[str, bytes]]:
    return [read_sample(ref) for ref in ShardIndex.from_artifacts([artifact]).refs]


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def test_a_clean_page_is_drawn_anew_at_every_visit(folder: Path, tmp_path: Path) -> None:
    artifact = build(folder, tmp_path / "online", form="online")
    stored = build(folder, tmp_path / "stored")
    (ref, *_) = refs = ShardIndex.from_artifacts([artifact]).refs
    assert all("online" in ref.tags for ref in refs)
    assert artifact.stats["regions"]["online"] == sum(artifact.stats["regions"].values()) > 0
    sample = json.loads(read_sample(ref)["json"])
    online = sample["meta"]["online"]
    assert len(online["regions"]) >= 5
    assert sample["meta"]["regions"] == []
    clean, damaged = (decoded(parts_of(one)[0]["jpg"]) for one in (artifact, stored))
    assert np.abs(clean - damaged).max() > 60, "the online shard holds the page as it was"

    page = Image.open(io.BytesIO(read_sample(ref)["jpg"]))
    visits = [_drawn(page, online, Item(ref, draw=draw)) for draw in (1, 2, 1)]
    assert visits[0][1] == visits[2][1]
    assert (np.asarray(visits[0][0]) == np.asarray(visits[2][0])).all()
    assert (np.asarray(visits[0][0]) != np.asarray(visits[1][0])).any()
    for image, messages in visits:
        known = {region[1] for region in online["regions"]}
        for line in messages[-1]["content"].splitlines():
            assert line.partition(": ")[2] in known
        assert image.size == page.size


def test_the_plan_gives_every_visit_of_a_clean_page_another_draw(folder: Path, tmp_path: Path) -> None:
    artifact = build(folder, tmp_path, form="online")
    refs = [replace(ref, split="train") for ref in ShardIndex.from_artifacts([artifact]).refs]
    schedule = Schedule(lr=1e-3)
    phase = Phase(
        name="p", trains=("resampler",), steps=30, tokens_per_pack=4000, weights={"documents": 1.0}, schedule=schedule
    )
    geometry = Geometry(queries=16, scale_resolution=448, view_patches=1024, max_slice_nums=1, patch_cost=0.1)
    plans = [plan_phase({"documents": refs}, phase, index=0, seed=7, geometry=geometry, world_size=1) for _ in range(2)]
    assert plans[0] == plans[1]
    items = [item for pack in plans[0].packs for item in pack]
    assert len(items) > 6
    assert len({(item.ref.key, item.draw) for item in items}) == len(items)


def test_the_parser_baseline_reads_the_whole_clean_page(folder: Path, tmp_path: Path) -> None:
    artifact = build(folder, tmp_path, target="parser")
    for parts in parts_of(artifact):
        sample = json.loads(parts["json"])
        assert sample["messages"][0]["content"][1]["text"] == "Read the page."
        target = sample["messages"][-1]["content"]
        assert target.startswith("A heading\n") or target.startswith("A heading ")
        assert [f"Paragraph {row} of" in target for row in range(5)] == [True] * 5
        assert target.index("Paragraph 1") < target.index("Paragraph 4")
        assert sample["meta"]["target"] == "parser"


@pytest.mark.parametrize("address", ["single", "coordinates"])
def test_other_ways_to_name_a_region(folder: Path, tmp_path: Path, address: str) -> None:
    artifact = build(folder, tmp_path, address=address)
    for parts in parts_of(artifact):
        sample = json.loads(parts["json"])
        prompt = sample["messages"][0]["content"][1]["text"]
        regions = sample["meta"]["regions"]
        if address == "single":
            assert len(regions) == 1
            assert sample["messages"][-1]["content"] == regions[0]["text"]
            assert prompt == "Read the text in the box."
        else:
            assert prompt.count("\n") == len(regions)
            red = (decoded(parts["jpg"]) - (214, 39, 40)).__abs__().sum(axis=2) < 60
            assert not red.any(), "no box is drawn"


def test_settings_that_contradict_each_other_are_refused() -> None:
    for options in ({"form": "online", "views_per_page": 2}, {"target": "parser", "views_per_page": 2}):
        with pytest.raises(ValidationError, match="one sample a page"):
            DocumentShards(**options)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="damages nothing"):
        DocumentShards(form="online", target="parser")
    with pytest.raises(ValidationError, match="boxes"):
        DocumentShards(templates={"coordinates": "Where?"})  # type: ignore[arg-type]


def test_the_second_engine_labels_the_same_text(folder: Path, tmp_path: Path) -> None:
    """Words of both engines are the same; the rasters, and so the bytes, are their own."""
    targets = []
    for engine in ("pymupdf", "pypdfium2"):
        artifact = build(folder, tmp_path / engine, engine=engine, target="parser")
        targets.append([json.loads(parts["json"])["messages"][-1]["content"] for parts in parts_of(artifact)])
    assert targets[0] == targets[1]
