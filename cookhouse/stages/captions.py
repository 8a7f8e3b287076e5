"""``captions``: captioned images to shards. In: ``sources`` or ``source``: pictures with a table (``captions.jsonl`` or
``captions.parquet``) or sidecars (``{stem}.txt``, ``{stem}.json``), and WebDataset tars of other makers."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from cookhouse.stages.sharding import Listing, corpus_stage, list_inputs, make_shards, missing_names
from pipelines.images.settings import CaptionShards
from pipelines.shards.plan import Unit, plan_units
from pipelines.workflow.stage import Attempt, Inputs

if TYPE_CHECKING:
    from pipelines.images.captions import CaptionJob


@corpus_stage("captions", code_version=1, engines=("pillow", "pyarrow", "webdataset"))
def build_caption_shards(config: CaptionShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Match pictures with their captions; a tar is a unit of its own."""
    from pipelines.images.captions import CaptionJob, build_caption_unit, load_score
    from pipelines.images.sources import SIDECARS, SUFFIXES, TAR

    if config.score is not None:
        load_score(config.score)
    listing = list_inputs(inputs, "images")
    captions = _captions(listing)
    names = listing.names((*SUFFIXES, TAR))
    missing = missing_names(captions, names, out.limit)
    items = [listing.item(name, config.split_seed, SIDECARS) for name in [*names[: out.limit], *missing]]
    tars = [item for item in items if item.name.lower().endswith(TAR)]
    units = plan_units((item for item in items if item not in tars), config.files_per_unit, "captions")

    def job(unit: Unit, near: dict[str, str]) -> CaptionJob:
        told = tuple(captions.get(item.name, "") for item in unit.items)
        return CaptionJob(unit, config, told, tuple(near.get(item.name, "") for item in unit.items) if near else ())

    near = _near([job(unit, {}) for unit in units], config, out) if config.dedup == "near" else {}
    jobs = [job(unit, near) for unit in (*units, *plan_units(tars, 1, "captions-tar"))]
    return make_shards(build_caption_unit, jobs, config, out, len(items))


def _near(jobs: list[CaptionJob], config: CaptionShards, out: Attempt) -> dict[str, str]:
    """Name -> earlier name of pictures that look alike, over all units: made anew by every attempt, always the same."""
    from pipelines.images.captions import measure_pictures
    from pipelines.media.likeness import near_copies

    marks: dict[str, int] = {}
    for done, (_, found) in enumerate(out.executor.map(measure_pictures, jobs, config.task, at_once=config.workers), 1):
        marks |= found
        out.events.progress(done, len(jobs), "units measured")
    return near_copies(sorted(marks.items()))


def _captions(listing: Listing) -> dict[str, str]:
    from pipelines.images.sources import TABLES, read_captions

    captions: dict[str, str] = {}
    for name, file in sorted(listing.files.items()):
        place = PurePosixPath(name)
        if place.name in TABLES:
            captions |= read_captions(file.path, "" if str(place.parent) == "." else str(place.parent))
    return captions
