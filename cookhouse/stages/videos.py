"""``videos``: clips to shards of timed frames. In: ``sources`` or ``source``. Out: shards and manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from cookhouse.stages.sharding import Listing, list_inputs, missing_names, run_units, shard_stats
from pipelines.core.cpus import FOLLOWS
from pipelines.core.errors import DataError
from pipelines.core.identity import Identity, Misfit, Runtime, Source, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage

if TYPE_CHECKING:
    from pipelines.videos.targets import Target


class VideoShards(StageConfig):
    """Frames are sampled by presentation time at ``fps`` (at most 10), at most ``max_frames`` a clip, resized to an
    area of about ``view_pixels`` with sides that are multiples of ``patch`` pixels.

    ``decode``: which source frames are decoded (``pipelines.videos.modes``); ``auto`` leaves some out only where few
    are wanted, and the row says so. ``split_by``: one clip a file (``none``), clips of ``clip_seconds`` (``length``),
    or cut where the picture changes by more than ``scene_threshold`` (0-1) and at ``clip_seconds`` at the latest
    (``scenes``); clips below ``min_clip_seconds`` are filtered. ``drop_similar``: drop frames that differ from the kept
    one before by at most so many bits of a 64-bit perceptual hash. ``keep_from``: a damaged clip is kept when at least
    this share of its file decoded. ``store``: JPEG frames, or an MPEG-4 ``clip`` with a keyframe every ``clip_gop``
    frames at quantiser ``clip_scale`` (1 best, 31 smallest)."""

    source: Source[str | None] = None
    fps: Identity[Annotated[float, Field(gt=0, le=10)]] = 5.0
    max_frames: Identity[Annotated[int, Field(ge=1, le=1080)]] = 1080
    view_pixels: Identity[int] = 448 * 448
    patch: Identity[int] = 14
    jpeg_quality: Identity[int] = 92
    jpeg_encoder: Identity[Literal["pillow", "simplejpeg"]] = "pillow"
    max_decoded: Identity[int] = 200_000
    decode: Identity[Literal["auto", "all", "nonref", "keyframes", "seek"]] = "auto"
    split_by: Identity[Literal["none", "length", "scenes"]] = "none"
    clip_seconds: Identity[Annotated[float, Field(gt=0)]] = 30.0
    min_clip_seconds: Identity[Annotated[float, Field(ge=0)]] = 1.0
    scene_threshold: Identity[Annotated[float, Field(gt=0, le=1)]] = 0.35
    drop_similar: Identity[Annotated[int, Field(ge=0, le=64)] | None] = None
    keep_from: Identity[Annotated[float, Field(ge=0, le=1)]] = 0.0
    store: Identity[Literal["frames", "clip"]] = "frames"
    clip_gop: Identity[Annotated[int, Field(ge=1)]] = 8
    clip_scale: Identity[Annotated[int, Field(ge=1, le=31)]] = 3
    prompt: Identity[str] = "Describe the video."
    files_per_unit: Identity[int] = 4
    split_seed: Identity[int] = 0
    max_quarantine_share: Runtime[float] = 0.5
    deadline_s: Runtime[float] = 300.0
    memory_bytes: Runtime[int] = 4 << 30
    workers: Runtime[int] = FOLLOWS

    def misfits(self, inputs: Mapping[str, tuple[str, ...]]) -> Iterable[Misfit]:
        """Scenes are seen between neighbouring frames only."""
        if self.split_by == "scenes" and self.decode in ("keyframes", "seek"):
            yield Misfit(
                ("decode",),
                f"decode {self.decode!r} does not see where scenes change",
                "use auto, all or nonref, or split_by: length",
            )


@stage(
    "videos",
    code_version=1,
    optional_inputs=("sources",),
    replaces={"source": "sources"},
    engines=("av", "pillow", "simplejpeg", "pyarrow", "webdataset"),
    deterministic="bytes",
    needs="data",
)
def build_video_shards(config: VideoShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Plan units from the sorted files, decode them in sandboxes, commit each."""
    from pipelines.shards.plan import plan_units
    from pipelines.videos.clips import SUFFIXES, ClipJob, build_clip_unit
    from pipelines.videos.decode import DecodeSpec
    from pipelines.videos.targets import SIDECARS

    listing = list_inputs(inputs, "videos")
    names = listing.names(SUFFIXES)
    items = [listing.item(name, config.split_seed, SIDECARS) for name in names[: out.limit]]
    spec = DecodeSpec(
        fps=config.fps,
        max_frames=config.max_frames,
        view_pixels=config.view_pixels,
        patch=config.patch,
        quality=config.jpeg_quality,
        max_decoded=config.max_decoded,
        mode=config.decode,
        split_by=config.split_by,
        clip_seconds=config.clip_seconds,
        shortest=config.min_clip_seconds,
        threshold=config.scene_threshold,
        similar=config.drop_similar,
        store=config.store,
        encoder=config.jpeg_encoder,
        gop=config.clip_gop,
        scale=config.clip_scale,
    )
    told = _told(listing, config.prompt)
    items += [listing.item(name, config.split_seed) for name in missing_names(told, names, out.limit)]
    jobs = [
        ClipJob(
            unit=unit,
            spec=spec,
            prompt=config.prompt,
            deadline_s=config.deadline_s,
            memory_bytes=config.memory_bytes,
            keep_from=config.keep_from,
            told=tuple(told.get(item.name, ()) for item in unit.items) if told else (),
        )
        for unit in plan_units(items, config.files_per_unit, "videos")
    ]
    receipts = run_units(build_clip_unit, jobs, out, config.workers)
    return shard_stats(receipts, "videos", len(items), config.max_quarantine_share)


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
