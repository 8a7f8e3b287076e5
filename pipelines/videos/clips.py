"""From planned video files to one shard unit: decode in the sandbox, one sample per clip and text said of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.sandbox import FATAL, RETRY_FACTOR, Sandbox, SandboxError, kept_sandbox
from pipelines.media.video import DecodeSpec, Frames
from pipelines.shards.manifest import Row
from pipelines.shards.plan import SourceItem, Unit
from pipelines.shards.sample import CLIP, FRAME, clip_content, sample_json, text_content, text_size, turn, video_content
from pipelines.shards.unit import Item, write_unit
from pipelines.videos.settings import VideoShards
from pipelines.videos.targets import UNTIMED, Target, read_targets, targets_within

STAGE = "videos"
TARGET = "pipelines.media.video:read_clips"
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".3gp", ".flv", ".wmv", ".ogv")
PARTIAL = "partial"
Place = tuple[int | None, int]
"""(clip, text): whole files (clip None) number their texts, files cut into clips number clips and texts."""


@dataclass(frozen=True)
class ClipJob:
    """A unit and all that decides its bytes, small enough to send to a worker. The deadline counts for one clip. ``told``
    holds what a table says of each source of the unit, in order; () when there is no table."""

    unit: Unit
    settings: VideoShards
    told: tuple[tuple[Target, ...], ...] = ()


def build_clip_unit(job: ClipJob, folder: Path) -> dict[str, Any]:
    """Write one unit into ``folder``; the receipt of ``write_unit``. A bad file costs its own rows only."""
    sandbox = kept_sandbox(TARGET, job.settings.deadline_s, job.settings.memory_bytes)
    return write_unit(folder, job.unit.name, _items(job, sandbox))


def _items(job: ClipJob, sandbox: Sandbox) -> Iterator[Item]:
    for number, source in enumerate(job.unit.items):
        if source.copy_of:
            yield _row(source).filtered("duplicate", f"same bytes as {source.copy_of}")
            continue
        try:
            targets = read_targets(source.sidecar, job.settings.prompt, job.told[number] if job.told else ())
        except ValueError as error:
            yield _row(source).quarantined("parse", f"sidecar {Path(source.sidecar).name}: {error}")
            continue
        yield from _file_items(job, source, targets, sandbox)


def _file_items(job: ClipJob, source: SourceItem, targets: list[Target], sandbox: Sandbox) -> Iterator[Item]:
    split = job.settings.split_by != "none"
    number = 0
    try:
        for number, clip in enumerate(_clips(sandbox, source.path, DecodeSpec.of(job.settings))):
            found = targets_within(targets, clip.start, clip.end, whole=not split)
            for item, (target, untimed) in enumerate(found):
                place: Place = (number if split else None, item)
                yield _problem(job, clip, _row(source, place)) or _sample(source, place, target, untimed, clip)
            number += 1
    except SandboxError as error:
        lost = 1 if split else len(targets_within(targets, 0, 0, whole=True))
        for item in range(lost):
            row = _row(source, (number if split else None, item))
            yield row.quarantined(error.category, source.told(error.message))


def _problem(job: ClipJob, clip: Frames, row: Row) -> Item | None:
    """The item of a clip that is not to be written."""
    least, shortest = job.settings.keep_from, job.settings.min_clip_seconds
    if clip.partial and clip.share < least:
        return row.quarantined("decode", f"{clip.partial}: {clip.share:.0%} there, {least:.0%} asked for")
    if job.settings.split_by != "none" and clip.end - clip.start < shortest:
        return row.filtered("policy", f"the clip lasts {clip.end - clip.start:.2f} s, below {shortest:g}")
    return None


def _clips(sandbox: Sandbox, path: str, spec: DecodeSpec) -> Iterator[Frames]:
    """The clips of a file. After a hang or crash the file is read once more in a fresh child with a longer deadline,
    and goes on behind the clips that came the first time: decoding is the same twice."""
    done = 0
    try:
        for clip in sandbox.stream(path, spec):
            done += 1
            yield clip
        return
    except SandboxError as error:
        if error.category not in FATAL:
            raise
    with Sandbox(TARGET, sandbox.deadline_s * RETRY_FACTOR, sandbox.memory_bytes) as patient:
        for number, clip in enumerate(patient.stream(path, spec)):
            if number >= done:
                yield clip


def _row(source: SourceItem, place: Place = (None, 0)) -> Row:
    clip, item = place
    key, number = (f"c{item:05d}", item) if clip is None else (f"c{clip:05d}-i{item:03d}", clip)
    return source.row(f"{source.key('v')}-{key}", STAGE, "video", number)


def _sample(source: SourceItem, place: Place, target: Target, untimed: bool, frames: Frames) -> Item:
    clip = place[0]
    stored = clip_content(frames.ticks) if frames.video else video_content(frames.ticks)
    messages = turn([stored, text_content(target.prompt)], target.answer)
    meta: dict[str, Any] = {
        "source": source.name,
        "source_digest": source.sha256,
        "clip": clip or 0,
        "part": target.part,
        "width": frames.width,
        "height": frames.height,
        **frames.facts,
    }
    if clip is not None:
        meta |= {"start": round(frames.start, 3), "end": round(frames.end, 3)}
    if frames.partial:
        meta["partial"] = frames.partial
    if target.part == "question":
        meta |= {"question_kind": "clip", "answer": target.answer, "verifier": "exact"}
    mode = "short" if target.part == "question" else "none"
    parts = {FRAME.format(number): data for number, data in enumerate(frames.jpegs)}
    if frames.video:
        parts[CLIP] = frames.video
    parts["json"] = sample_json("video", source.split, mode, messages, meta)
    detail = {**frames.facts, "partial": frames.partial}
    if clip is not None:
        detail |= {"start": meta["start"], "end": meta["end"]}
    row = replace(
        _row(source, place),
        views=len(frames.ticks),
        frames=len(frames.ticks),
        width=frames.width,
        height=frames.height,
        text_bytes=text_size(messages),
        tags=(target.part, mode, *((PARTIAL,) if frames.partial else ()), *((UNTIMED,) if untimed else ())),
        detail=json.dumps(detail, sort_keys=True),
    )
    return row, parts
