"""``videos``: clips to shards of timed frames. In: ``sources`` or ``source``. Out: shards and manifests."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from cookhouse.stages.sharding import Listing, corpus_stage, list_inputs, make_shards, missing_names
from pipelines.core.errors import DataError
from pipelines.shards.plan import plan_units
from pipelines.videos.settings import VideoShards
from pipelines.workflow.stage import Attempt, Inputs

if TYPE_CHECKING:
    from pipelines.videos.targets import Target


@corpus_stage("videos", code_version=1, engines=("av", "pillow", "simplejpeg", "pyarrow", "webdataset"))
def build_video_shards(config: VideoShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Units of the sorted files, and of those that only a table knows."""
    from pipelines.videos.clips import SUFFIXES, ClipJob, build_clip_unit
    from pipelines.videos.targets import SIDECARS

    listing = list_inputs(inputs, "videos")
    items = listing.items(SUFFIXES, config.split_seed, out.limit, SIDECARS)
    told = _told(listing, config.prompt)
    missing = missing_names(told, listing.names(SUFFIXES), out.limit)
    items += [listing.item(name, config.split_seed) for name in missing]
    jobs = [
        ClipJob(unit, config, tuple(told.get(item.name, ()) for item in unit.items) if told else ())
        for unit in plan_units(items, config.files_per_unit, "videos")
    ]
    return make_shards(build_clip_unit, jobs, config, out, len(items))


def _told(listing: Listing, prompt: str) -> dict[str, tuple[Target, ...]]:
    """File name -> what the tables ``captions.jsonl`` and ``captions.parquet`` of any folder say of it."""
    from pipelines.shards.tables import read_rows
    from pipelines.videos.targets import TABLES, target_of_row

    told: dict[str, tuple[Target, ...]] = {}
    for table, file in sorted(listing.files.items()):
        if PurePosixPath(table).name not in TABLES:
            continue
        for number, row in read_rows(file.path):
            try:
                if isinstance(row, ValueError):
                    raise row
                name = listing.beside(table, str(row["file"]))
                told[name] = (*told.get(name, ()), target_of_row(row, prompt))
            except (ValueError, KeyError) as error:
                raise DataError(
                    f"row {number} is no text of a video",
                    where=str(file.path),
                    why=f"{type(error).__name__}: {error}",
                    do='rows look like {"file": "a.mp4", "caption": "A red ball."}',
                ) from error
    return told
