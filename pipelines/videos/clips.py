"""From planned video files to one shard unit: decode in the sandbox, one sample per caption and question.

The sidecar of ``name.mp4`` is ``name.json``: ``{"captions": ["..."], "questions": [{"question", "answer"}]}``. A
video with neither becomes one sample tagged ``unlabelled`` with an empty target; the index leaves it out of training
by default.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.sandbox import Sandbox, SandboxError
from pipelines.shards.index import UNLABELLED
from pipelines.shards.manifest import CATEGORIES, Row
from pipelines.shards.plan import SourceItem, Unit
from pipelines.shards.sample import FRAME, sample_json, text_content, text_size, turn, video_content
from pipelines.shards.unit import Item, write_unit
from pipelines.videos.decode import DecodeSpec, Frames

STAGE = "videos"
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".3gp", ".flv", ".wmv", ".ogv")
PARTIAL = "partial"


@dataclass(frozen=True)
class Target:
    """What one sample asks and expects. ``part`` is ``caption``, ``question`` or ``unlabelled``."""

    part: str
    prompt: str
    answer: str


@dataclass(frozen=True)
class ClipJob:
    """A unit and all that decides its bytes, small enough to send to a worker. ``deadline_s`` counts for one file."""

    unit: Unit
    spec: DecodeSpec
    prompt: str
    directory: str
    deadline_s: float
    memory_bytes: int


def build_clip_unit(job: ClipJob) -> dict[str, Any]:
    """Write one unit; the receipt of ``write_unit``. A bad file costs its own rows only."""
    with Sandbox("pipelines.videos.decode:read_frames", job.deadline_s, job.memory_bytes) as sandbox:
        return write_unit(job.directory, job.unit.name, _items(job, sandbox))


def _items(job: ClipJob, sandbox: Sandbox) -> Iterator[Item]:
    for source in job.unit.items:
        if source.copy_of:
            yield _unwritten(source, 0, "filtered", "duplicate", f"same bytes as {source.copy_of}"), None
            continue
        try:
            targets = read_targets(source.sidecar, job.prompt)
        except ValueError as error:
            reason = f"sidecar {Path(source.sidecar).name}: {error}"
            yield _unwritten(source, 0, "quarantined", "parse", reason), None
            continue
        try:
            frames = sandbox.call(source.path, job.spec)
        except SandboxError as error:
            category = error.category if error.category in CATEGORIES else "parse"
            for item in range(len(targets)):
                yield _unwritten(source, item, "quarantined", category, source.told(error.message)), None
            continue
        for item, target in enumerate(targets):
            yield _sample(source, item, target, frames)


def read_targets(sidecar: str, prompt: str) -> list[Target]:
    """Captions first, then questions; one ``unlabelled`` target if there is no text. Raises ValueError for a sidecar
    that is not of the documented form."""
    content: Any = {}
    if sidecar:
        try:
            content = json.loads(Path(sidecar).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"not readable as JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError("not a JSON object")
    captions, questions = content.get("captions", []), content.get("questions", [])
    if not isinstance(captions, list) or not isinstance(questions, list):
        raise ValueError("captions and questions must be lists")
    targets = [Target("caption", prompt, _text(caption, "caption")) for caption in captions]
    for question in questions:
        if not isinstance(question, Mapping):
            raise ValueError("a question must be an object with question and answer")
        asked, answer = (_text(question.get(name), name) for name in ("question", "answer"))
        targets.append(Target("question", asked, answer))
    return targets or [Target(UNLABELLED, prompt, "")]


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is {value!r}, not a text")
    return value.strip()


def _unwritten(source: SourceItem, item: int, status: Any, category: str, reason: str) -> Row:
    return Row(
        key=_key(source, item),
        status=status,
        category=category,
        reason=reason,
        stage=STAGE,
        source=source.name,
        source_digest=source.sha256,
        split=source.split,
        kind="video",
        item=item,
    )


def _key(source: SourceItem, item: int) -> str:
    return f"{source.key('v')}-c{item:05d}"


def _sample(source: SourceItem, item: int, target: Target, frames: Frames) -> Item:
    messages = turn([video_content(frames.ticks), text_content(target.prompt)], target.answer)
    meta: dict[str, Any] = {
        "source": source.name,
        "source_digest": source.sha256,
        "clip": 0,
        "part": target.part,
        "width": frames.width,
        "height": frames.height,
        **frames.facts,
    }
    if frames.partial:
        meta["partial"] = frames.partial
    if target.part == "question":
        meta |= {"question_kind": "clip", "answer": target.answer, "verifier": "exact"}
    mode = "short" if target.part == "question" else "none"
    parts = {FRAME.format(number): data for number, data in enumerate(frames.jpegs)}
    parts["json"] = sample_json("video", source.split, mode, messages, meta)
    row = Row(
        key=_key(source, item),
        status="ok",
        stage=STAGE,
        source=source.name,
        source_digest=source.sha256,
        split=source.split,
        kind="video",
        item=item,
        views=len(frames.jpegs),
        frames=len(frames.jpegs),
        width=frames.width,
        height=frames.height,
        text_bytes=text_size(messages),
        tags=(target.part, mode, *((PARTIAL,) if frames.partial else ())),
        detail=json.dumps({**frames.facts, "partial": frames.partial}, sort_keys=True),
    )
    return row, parts
