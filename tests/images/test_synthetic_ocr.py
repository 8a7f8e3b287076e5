"""Synthetic OCR samples as a stage: drawings, pages, what could not be made, and a kill in the middle."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stage_runs import run_stage_inprocess

from cookhouse.stages.synthetic_ocr import SyntheticOcr, build_synthetic_ocr
from pipelines.core.errors import ConfigError
from pipelines.images import synthetic
from pipelines.shards.index import ShardIndex
from pipelines.shards.inspect import rows
from pipelines.shards.read import decode_parts, read_sample
from pipelines.shards.verify import verify

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="no chromium is installed, or no Playwright",
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((400, 300), Image.Resampling.BICUBIC)
    picture.save(place / "a.jpg")
    (place / "cut.jpg").write_bytes((place / "a.jpg").read_bytes()[:900])
    return place


def config(photos: Path, **changes: Any) -> SyntheticOcr:
    plain = {"count": 30, "per_unit": 10, "max_side": 320, "max_quarantine_share": 1.0}
    return SyntheticOcr(photos=str(photos), **(plain | changes))


def test_every_drawing_has_a_row_and_its_text_is_the_target(photos: Path, tmp_path: Path) -> None:
    made = run_stage_inprocess(build_synthetic_ocr, config(photos), {}, tmp_path)
    found = list(rows(made))
    assert [row.item for row in found] == list(range(30))
    assert {(row.status, row.category) for row in found} == {("ok", None), ("quarantined", "decode")}
    assert all("cut.jpg" in (row.reason or "") for row in found if row.status != "ok")
    assert verify(made) == []
    behind = set()
    for ref in ShardIndex.from_artifacts([made]).refs:
        parts = decode_parts(read_sample(ref))
        meta = parts["json"]["meta"]
        behind.add(meta["background"])
        assert parts["json"]["messages"][1]["content"] == "\n".join(region["text"] for region in meta["regions"])
        assert parts["jpg"].size == (ref.width, ref.height)
    assert behind == {"a.jpg", "texture"}


def test_a_kill_in_the_middle_changes_nothing(photos: Path, tmp_path: Path) -> None:
    whole = run_stage_inprocess(build_synthetic_ocr, config(photos), {}, tmp_path / "a")
    child = os.fork()
    if child == 0:
        original, count = synthetic.write_unit, iter(range(9))

        def dying(*arguments: Any, **options: Any) -> Any:
            if next(count) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **options)

        synthetic.write_unit = dying  # type: ignore[assignment]
        run_stage_inprocess(build_synthetic_ocr, config(photos), {}, tmp_path / "b")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(list((tmp_path / "b").rglob("units/*.json"))) == 1
    again = run_stage_inprocess(build_synthetic_ocr, config(photos, workers=1), {}, tmp_path / "b")
    assert again.content_digest == whole.content_digest


PAGE = """<!doctype html><body style="margin:20px;font:20px serif">
<h1 style="text-transform:uppercase">Seen first</h1><p>These words are shown, <b>all of them</b>.</p>
<p style="visibility:hidden">Never</p><p style="color:#fff">White</p><p style="opacity:0">Nor this</p>
<div style="position:absolute;left:20px;top:300px">Covered</div>
<div style="position:absolute;left:0;top:280px;width:300px;height:80px;background:teal"></div>
<p style="position:absolute;top:2000px">Below</p><script>document.body.innerHTML = "Scripted"</script>
<img src="http://127.0.0.1:9/x.png"></body>"""


@needs_chromium
def test_pages_are_labelled_with_what_can_be_seen(tmp_path: Path) -> None:
    place = tmp_path / "pages"
    place.mkdir()
    (place / "a.html").write_text(PAGE)
    (place / "b.html").write_text(PAGE)
    (place / "c.html").write_text("<p></p>")
    settings = SyntheticOcr(count=0, pages=str(place), page_width=600, page_height=450, chromium=CHROMIUM or "")
    made = run_stage_inprocess(build_synthetic_ocr, settings, {}, tmp_path / "s")
    assert {row.source: (row.status, row.category) for row in rows(made)} == {
        "a.html": ("ok", None),
        "b.html": ("filtered", "duplicate"),
        "c.html": ("filtered", "empty_text"),
    }
    (ref,) = ShardIndex.from_artifacts([made]).refs
    parts = read_sample(ref)
    meta = json.loads(parts["json"])["meta"]
    assert [region["text"] for region in meta["regions"]] == ["SEEN FIRST", "These words are shown, all of them."]
    grey = np.asarray(Image.open(io.BytesIO(parts["jpg"])).convert("L"), float)
    for region in meta["regions"]:
        (left, top), _, (right, bottom), _ = region["quad"]
        assert grey[int(top) : int(bottom) + 1, int(left) : int(right) + 1].min() < 80
    assert grey[:15].min() > 240


def test_a_chromium_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    with pytest.raises(ConfigError, match="no Chromium"):
        run_stage_inprocess(
            build_synthetic_ocr, SyntheticOcr(pages=str(tmp_path), chromium="/nowhere/chromium"), {}, tmp_path / "s"
        )
