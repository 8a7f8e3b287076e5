"""``videos``: clips to shards of timed frames. In: ``sources`` or ``source``. Out: shards and manifests."""

from __future__ import annotations

from typing import Any

from cookhouse.stages.sharding import list_inputs, run_units, shard_stats
from pipelines.core.identity import Identity, Runtime, Source, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage


class VideoShards(StageConfig):
    """Frames are sampled by presentation time at ``fps`` (at most 10), at most ``max_frames`` a file, resized to an
    area of about ``view_pixels`` with sides that are multiples of ``patch`` pixels."""

    source: Source[str | None] = None
    fps: Identity[float] = 5.0
    max_frames: Identity[int] = 1080
    view_pixels: Identity[int] = 448 * 448
    patch: Identity[int] = 14
    jpeg_quality: Identity[int] = 92
    max_decoded: Identity[int] = 200_000
    prompt: Identity[str] = "Describe the video."
    files_per_unit: Identity[int] = 4
    split_seed: Identity[int] = 0
    max_quarantine_share: Runtime[float] = 0.5
    deadline_s: Runtime[float] = 300.0
    memory_bytes: Runtime[int] = 4 << 30
    workers: Runtime[int] = 2


@stage(
    "videos",
    code_version=1,
    optional_inputs=("sources",),
    replaces={"source": "sources"},
    engines=("av", "pillow", "pyarrow", "webdataset"),
    deterministic="bytes",
    needs="data",
)
def build_video_shards(config: VideoShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Plan units from the sorted files, decode them in sandboxes, commit each."""
    from pipelines.shards.plan import plan_units
    from pipelines.videos.clips import SUFFIXES, ClipJob, build_clip_unit
    from pipelines.videos.decode import DecodeSpec

    listing = list_inputs(inputs, "videos")
    items = [listing.item(name, config.split_seed, sidecar=True) for name in listing.names(SUFFIXES)[: out.limit]]
    spec = DecodeSpec(
        fps=config.fps,
        max_frames=config.max_frames,
        view_pixels=config.view_pixels,
        patch=config.patch,
        quality=config.jpeg_quality,
        max_decoded=config.max_decoded,
    )
    jobs = [
        ClipJob(unit, spec, config.prompt, str(out.dir), config.deadline_s, config.memory_bytes)
        for unit in plan_units(items, config.files_per_unit, "videos")
    ]
    receipts = run_units(build_clip_unit, jobs, out, config.workers)
    return shard_stats(receipts, "videos", len(items), config.max_quarantine_share)
