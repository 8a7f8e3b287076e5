"""Rows of conversation tables to samples, one a row: pictures and video frames are decoded in sandboxes and stored beside
the messages, so that training reads a conversation like any other sample."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pipelines.core.sandbox import SandboxError, kept_sandbox
from pipelines.core.seeds import split_of
from pipelines.media.video import DecodeSpec
from pipelines.shards.manifest import Row
from pipelines.shards.plan import SourceItem
from pipelines.shards.sample import image_content, sample_json, text_content, text_size
from pipelines.shards.tables import read_rows
from pipelines.shards.unit import Item, write_unit
from pipelines.text.chats import Medium, Message, Part, read_chat, read_interleaved
from pipelines.text.settings import TableShards

Form = Literal["conversations", "interleaved"]
KIND = {"conversations": "conversation", "interleaved": "interleaved"}
PICTURE, VIDEO = "pipelines.media.picture:read_picture", "pipelines.media.video:read_frames"


@dataclass(frozen=True)
class Rows:
    """A unit of work: rows ``start`` to before ``stop`` of one table."""

    name: str
    table: SourceItem
    start: int
    stop: int


@dataclass(frozen=True)
class RowsJob:
    """A unit and all that decides its bytes. ``root`` is the folder that names are relative to."""

    unit: Rows
    settings: TableShards
    form: Form
    root: str


def build_rows_unit(job: RowsJob, folder: Path) -> dict[str, Any]:
    """Write one unit into ``folder``; the receipt of ``write_unit``. A bad row costs itself only."""
    planned = job.unit.stop - job.unit.start
    return write_unit(folder, job.unit.name, _items(job), planned=planned)


def _items(job: RowsJob) -> Iterator[Item]:
    seen: set[bytes] = set()
    for number, record in read_rows(Path(job.unit.table.path), job.unit.start, job.unit.stop):
        try:
            if isinstance(record, ValueError):
                raise record
            messages = (read_chat if job.form == "conversations" else read_interleaved)(record)
        except ValueError as error:
            yield _row(job, number).quarantined("parse", str(error))
            continue
        mark = _digest(messages)
        row = _row(job, number, split_of(_first_medium(messages, job) or mark.hex(), job.settings.split_seed))
        if reason := _refused(job, messages):
            yield row.filtered("policy", reason)
        elif mark in seen:
            yield row.filtered("duplicate", "the same row came before in this unit")
        else:
            seen.add(mark)
            yield _sample(job, number, row, messages)


def _refused(job: RowsJob, messages: tuple[Message, ...]) -> str:
    size = sum(len(message.text.encode()) + len(message.thought.encode()) for message in messages)
    media = sum(part.kind != "text" for message in messages for part in message.parts)
    if size > job.settings.max_bytes:
        return f"{size} bytes of text, more than {job.settings.max_bytes}"
    return f"{media} pictures and videos, more than {job.settings.max_media}" if media > job.settings.max_media else ""


def _sample(job: RowsJob, number: int, row: Row, messages: tuple[Message, ...]) -> Item:
    stored = _Stored(job)
    try:
        told = [_told(message, stored) for message in messages]
    except SandboxError as error:
        return row.quarantined(error.category, error.message)
    mode = "none" if job.form == "interleaved" else "long" if messages[-1].thought else "short"
    meta = {"source": job.unit.table.name, "source_digest": job.unit.table.sha256, "row": number, "media": stored.media}
    parts = {**stored.parts, "json": sample_json(row.kind, row.split, mode, told, meta)}
    written = replace(
        row,
        views=stored.views,
        frames=stored.frames,
        width=stored.size[0],
        height=stored.size[1],
        text_bytes=text_size(told),
        tags=(mode,),
        detail=json.dumps({"media": stored.media} if stored.media else {}, sort_keys=True, ensure_ascii=False),
    )
    return written, parts


def _told(message: Message, stored: _Stored) -> dict[str, Any]:
    if message.role != "user":
        told: dict[str, Any] = {"role": message.role, "content": message.text}
        return told | {"thought": message.thought} if message.thought else told
    content = [text_content(str(p.value)) if p.kind == "text" else stored.keep(p) for p in message.parts]
    return {"role": "user", "content": content}


class _Stored:
    """Pictures and frames of one sample as its parts; raises SandboxError for a medium that cannot be used."""

    def __init__(self, job: RowsJob) -> None:
        self.job = job
        self.parts: dict[str, bytes] = {}
        self.media: list[dict[str, Any]] = []
        self.size = (0, 0)
        self.views = self.frames = 0

    def keep(self, part: Part) -> dict[str, Any]:
        source = find_medium(part.value, self.job)
        number = len(self.media)
        name = part.value if isinstance(part.value, str) else f"bytes in the row, {len(part.value)}"
        about: dict[str, Any] = {"kind": part.kind, "name": name, "sha256": _sha256(source)}
        try:
            content = self._video(source, number, about) if part.kind == "video" else self._picture(source, number)
        except SandboxError as error:
            message = error.message.replace(source, name) if isinstance(source, str) else error.message
            raise SandboxError(error.category, f"{name}: {message}") from error
        self.media.append(about)
        return content

    def _picture(self, source: Medium, number: int) -> dict[str, Any]:
        settings = self.job.settings
        box = kept_sandbox(PICTURE, settings.deadline_s, settings.memory_bytes)
        picture = box.call(source, settings.max_pixels, settings.most_source_pixels, settings.jpeg_quality)
        part = f"i{number:03d}.jpg"
        self.parts[part] = picture.jpeg
        self.views += 1
        self.size = self.size if any(self.size) else (picture.width, picture.height)
        return image_content(part)

    def _video(self, source: Medium, number: int, about: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(source, str):
            raise SandboxError("policy", "a video must be a file")
        settings = self.job.settings
        spec = DecodeSpec(settings.fps, settings.max_frames, settings.view_pixels)
        clip = kept_sandbox(VIDEO, settings.deadline_s, settings.memory_bytes).call(source, spec)
        names = [f"v{number:02d}f{frame:04d}.jpg" for frame in range(len(clip.jpegs))]
        self.parts |= dict(zip(names, clip.jpegs, strict=True))
        self.views, self.frames = self.views + len(names), self.frames + len(names)
        self.size = self.size if any(self.size) else (clip.width, clip.height)
        about |= clip.facts | ({"partial": clip.partial} if clip.partial else {})
        return {"type": "video", "parts": names, "ticks": list(clip.ticks)}


def find_medium(value: Medium, job: RowsJob) -> Medium:
    """The path of a named medium: beside the table or under the source folder, never outside of it; bytes as they are.
    Raises SandboxError ``source_unavailable``."""
    if isinstance(value, bytes):
        return value
    root = Path(job.root).resolve()
    for place in (PurePosixPath(job.unit.table.name).parent / value, PurePosixPath(value)):
        path = (root / place).resolve()
        if path.is_relative_to(root) and path.is_file():
            return str(path)
    raise SandboxError("source_unavailable", f"{value[:200]} is not in the source folder")


def _first_medium(messages: tuple[Message, ...], job: RowsJob) -> str:
    """Rows about one picture share its split; "" without one that can be read."""
    for message in messages:
        for part in message.parts:
            if part.kind != "text":
                try:
                    return _sha256(find_medium(part.value, job))
                except (SandboxError, OSError):
                    return ""
    return ""


def _sha256(source: Medium) -> str:
    return hashlib.sha256(source if isinstance(source, bytes) else Path(source).read_bytes()).hexdigest()


def _digest(messages: tuple[Message, ...]) -> bytes:
    digest = hashlib.sha256()
    for message in messages:
        for part in (Part(message.role, message.thought), *message.parts):
            value = part.value if isinstance(part.value, bytes) else part.value.encode()
            digest.update(f"{part.kind}:{len(value)}:".encode() + value)
    return digest.digest()


def _row(job: RowsJob, number: int, split: str = "") -> Row:
    table = job.unit.table
    return table.row(f"{table.key('m')}-l{number:07d}", job.form, KIND[job.form], number, split)
