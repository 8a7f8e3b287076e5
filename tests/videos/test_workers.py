"""The number of workers, and that they are Ray tasks, must not show in the bytes."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from pipelines.core.executor import InProcess, Resources
from pipelines.shards.plan import SourceItem, plan_units
from pipelines.videos.clips import ClipJob, build_clip_unit
from pipelines.videos.settings import VideoShards
from pipelines.workflow.backends.ray_executor import RayExecutor
from toy.corpus.clips import write_clips


def jobs(corpus: Path) -> list[ClipJob]:
    items = [
        SourceItem(str(path), path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), "train")
        for path in sorted((corpus / "videos").iterdir())
        if path.suffix != ".json"
    ]
    settings = VideoShards(fps=5, max_frames=24, view_pixels=25600)
    return [ClipJob(unit, settings) for unit in plan_units(items[:6], 2, "videos")]


def test_ray_workers_write_the_bytes_of_the_plain_loop(ray_session: Any, tmp_path: Path) -> None:
    write_clips(tmp_path, 0)
    in_process, on_ray = (
        {
            job.unit.name: receipt
            for job, receipt in executor.map(
                functools.partial(build_clip_unit, folder=tmp_path / name), jobs(tmp_path), Resources(), at_once=2
            )
        }
        for executor, name in ((InProcess(), "one"), (RayExecutor(), "two"))
    )
    assert len(on_ray) == 3
    assert json.dumps(on_ray, sort_keys=True) == json.dumps(in_process, sort_keys=True)
    for receipt in on_ray.values():
        for name in receipt["files"]:
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
