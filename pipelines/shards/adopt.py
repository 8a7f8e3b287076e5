"""``adopt``: foreign WebDataset tars to shards of our own, one unit a tar, one row for every sample found.

A foreign tar is read as a stream and never trusted: no compression, only plain files, no absolute or climbing names, no
links, caps on sizes, counts and name lengths, nothing unpickled; a tar that breaks off keeps what came whole and has a
row that says so. What a sample may be:

* ``json`` with ``messages`` (our form, ``sample.py``) and the pictures they name;
* a picture (``jpg``, ``png``) with ``txt``, or with ``caption`` or ``text`` in its ``json``: a captioned image;
* ``txt``, or ``json`` with ``text``, alone: a text.

The picture's bytes are kept as they are. Everything is written again by ``write_unit``: names become ours (the foreign
key stays in ``meta`` and ``detail``), so the result is like any other shard: byte-identical on a rerun, indexed, safe to
open with readers that unpickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from pipelines.core.errors import DataError
from pipelines.core.seeds import split_of
from pipelines.shards.manifest import Row
from pipelines.shards.plan import SourceItem, Unit
from pipelines.shards.sample import MODES, image_content, sample_json, text_content, text_size, turn
from pipelines.shards.settings import AdoptShards
from pipelines.shards.unit import Item, write_unit
from pipelines.shards.writer import PART

STAGE = "adopt"
SUFFIXES = (".tar",)
RENAMED = {"jpeg": "jpg", "text": "txt", "caption": "txt"}
_PICTURES = {"jpg": "JPEG", "png": "PNG"}
_UNPICKLED = ("pkl", "pickle", "pyd", "pth", "pt")
MOST_NAME, MOST_PARTS = 512, 2048


@dataclass(frozen=True)
class AdoptJob:
    """A unit (one tar or more) and all that decides its bytes."""

    unit: Unit
    settings: AdoptShards


@dataclass(frozen=True)
class Foreign:
    """A sample as it lay in its tar: our part names -> bytes; ``trouble`` (category, reason) when it may not be used."""

    key: str
    parts: Mapping[str, bytes]
    trouble: tuple[str, str] | None = None


def build_adopted_unit(job: AdoptJob, folder: Path) -> dict[str, Any]:
    """Write one unit into ``folder``; the receipt of ``write_unit``."""
    return write_unit(folder, job.unit.name, _items(job))


def _items(job: AdoptJob) -> Iterator[Item]:
    seen: dict[str, str] = {}
    for source in job.unit.items:
        if source.copy_of:
            yield _row(source, 0).filtered("duplicate", f"same bytes as {source.copy_of}")
            continue
        number = -1
        for number, sample in enumerate(read_foreign(source.path, job.settings)):
            content = hashlib.sha256(b"".join(sample.parts[name] for name in sorted(sample.parts))).hexdigest()
            split = job.settings.split or split_of(content, job.settings.split_seed)
            row = _row(source, number, sample.key, split)
            if sample.trouble is None and content in seen:
                yield row.filtered("duplicate", source.told(f"same content as {seen[content]}"))
                continue
            try:
                if sample.trouble is not None:
                    raise _Refused(*sample.trouble)
                yield _convert(job, source, number, sample, split)
                seen[content] = f"{sample.key} of {source.name}"
            except _Refused as refused:
                yield row.quarantined(refused.category, source.told(refused.reason))
        if number < 0:
            yield _row(source, 0).quarantined("empty", "the tar holds no sample")


class _Refused(Exception):
    """A foreign sample that is not taken."""

    def __init__(self, category: str, reason: str) -> None:
        super().__init__(category, reason)
        self.category, self.reason = category, reason


def read_foreign(path: str | Path, limits: AdoptShards) -> Iterator[Foreign]:
    """The samples of a tar in file order; a WebDataset key ends at the first dot of the file's base name. Nothing
    raises for what a tar holds: it comes out as ``trouble``, a tar that breaks off as a last sample with key ""."""
    done: set[str] = set()
    current: _Group | None = None
    try:
        with Path(path).open("rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                base = member.name.rpartition("/")[2]
                if member.isdir() or (base.startswith("__") and base.endswith("__")):
                    continue
                stem = member.name[: len(member.name) - len(base)] + base.partition(".")[0]
                if current is None or stem != current.key:
                    if current is not None:
                        done.add(current.key)
                        yield current.sample()
                    current = _Group(stem, limits)
                    if stem in done:
                        current.refuse("duplicate", f"key {stem!r} came before in this tar")
                current.add(member, base.partition(".")[2].lower(), tar.extractfile(member) if member.isreg() else None)
            if tar.offset == 0:
                yield Foreign("", {}, ("parse", "this is not a tar file"))
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        current = None  # perhaps not whole
        yield Foreign("", {}, ("parse", f"the tar breaks off: {type(error).__name__}: {error}"))
    if current is not None:
        yield current.sample()


class _Group:
    """Parts of one key as they come."""

    def __init__(self, key: str, limits: AdoptShards) -> None:
        self.key, self._limits = key, limits
        self._parts: dict[str, bytes] = {}
        self._size = 0
        self._trouble: tuple[str, str] | None = None

    def refuse(self, category: str, reason: str) -> None:
        self._trouble = self._trouble or (category, reason)

    def add(self, member: tarfile.TarInfo, part: str, content: IO[bytes] | None) -> None:
        name = member.name
        self._size += member.size
        part = RENAMED.get(part, part)
        if member.issym() or member.islnk():
            self.refuse("policy", f"{name!r} is a link")
        elif content is None:
            self.refuse("policy", f"{name!r} is not a plain file")
        elif name.startswith("/") or ".." in name.split("/"):
            self.refuse("policy", f"{name!r} leads out of the archive")
        elif len(name) > MOST_NAME:
            self.refuse("policy", f"a member name of {len(name)} bytes is above {MOST_NAME}")
        elif part.rpartition(".")[2] in _UNPICKLED:
            self.refuse("policy", f"{name!r} could run code when it is opened")
        elif member.size > self._limits.most_member_bytes or self._size > self._limits.most_sample_bytes:
            self.refuse("policy", f"{name!r}: {member.size} bytes, sample of {self._size}, above the limits")
        elif len(self._parts) >= MOST_PARTS:
            self.refuse("policy", f"more than {MOST_PARTS} parts")
        elif part in self._parts:
            self.refuse("duplicate", f"two parts {part!r}")
        elif self._trouble is None:
            data = content.read()
            if len(data) != member.size:
                raise tarfile.ReadError(f"{name!r} has {len(data)} of its {member.size} bytes")
            self._parts[part] = data

    def sample(self) -> Foreign:
        return Foreign(self.key, {} if self._trouble else self._parts, self._trouble)


def _convert(job: AdoptJob, source: SourceItem, number: int, sample: Foreign, split: str) -> Item:
    """The row and parts of a foreign sample in our form. Raises _Refused for one that is none of the forms."""
    about = _json_of(sample.parts)
    pictures = {name: data for name, data in sample.parts.items() if name.rpartition(".")[2] in _PICTURES}
    mode = "none"
    if "messages" in about:
        kind, mode, messages = str(about.get("kind", "")), str(about.get("mode", "none")), about["messages"]
    else:
        text = sample.parts.get("txt", b"").decode("utf-8", "strict") if "txt" in sample.parts else ""
        text = (text or str(about.get("caption") or about.get("text") or "")).strip()
        if not text:
            raise _Refused("empty_text", f"no text in {', '.join(sorted(sample.parts)) or 'no parts'}")
        if len(pictures) > 1:
            raise _Refused("policy", f"{len(pictures)} pictures and one text: which is described?")
        kind = "caption" if pictures else "text"
        prompt = [text_content(job.settings.caption_prompt if pictures else job.settings.text_prompt)]
        messages = turn([*(image_content(name) for name in pictures), *prompt], text)
    frames, used = _pictures_of(messages, sample.key)
    missing = [name for name in used if name not in pictures]
    if missing:
        raise _Refused("parse", f"messages name {missing[0]!r}, which the sample does not hold")
    sizes = [_size_of(name, pictures[name], job.settings) for name in used]
    meta = {"source": source.name, "source_digest": source.sha256, "foreign_key": sample.key}
    if mode not in MODES:
        raise _Refused("parse", f"mode {mode!r} is none of {', '.join(MODES)}")
    try:
        data = sample_json(kind, split, mode, messages, meta)
        size = text_size(messages)
    except (DataError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise _Refused("parse", f"messages do not fit the schema: {error}") from error
    first = sizes[0] if sizes else (0, 0)
    row = replace(
        _row(source, number, sample.key, split, kind),
        views=len(used),
        frames=frames,
        width=first[0],
        height=first[1],
        text_bytes=size,
        tags=(mode,),
    )
    return row, {"json": data, **{name: pictures[name] for name in sorted(set(used))}}


def _json_of(parts: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        about = json.loads(parts.get("json", b"{}"))
    except ValueError as error:
        raise _Refused("parse", f"json: {error}") from error
    if not isinstance(about, dict):
        raise _Refused("parse", f"json holds a {type(about).__name__}, not an object")
    return about


def _pictures_of(messages: Any, key: str) -> tuple[int, list[str]]:
    """(frames, part names in order) of messages in our form."""
    frames, names = 0, []
    try:
        for message in messages:
            for part in () if isinstance(message["content"], str) else message["content"]:
                if part["type"] == "image":
                    names.append(str(part["part"]))
                elif part["type"] == "video":
                    if len(part["parts"]) != len(part["ticks"]):
                        raise _Refused("parse", f"{len(part['parts'])} frames, {len(part['ticks'])} ticks")
                    frames += len(part["parts"])
                    names.extend(map(str, part["parts"]))
    except (TypeError, KeyError) as error:
        raise _Refused("parse", f"messages do not fit the schema: {type(error).__name__}: {error}") from error
    bad = [name for name in names if not PART.match(name)]
    if bad:
        raise _Refused("policy", f"part {bad[0]!r} is not on the allow-list")
    return frames, names


def _size_of(name: str, data: bytes, limits: AdoptShards) -> tuple[int, int]:
    """Width and height from the header; nothing is decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=[_PICTURES[name.rpartition(".")[2]]]) as image:
            size = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _Refused("decode", f"{name}: {type(error).__name__}") from error
    if size[0] * size[1] > limits.most_source_pixels:
        raise _Refused("policy", f"{name}: {size[0]}x{size[1]} pixels, above {limits.most_source_pixels}")
    return size


def _row(source: SourceItem, number: int, foreign_key: str = "", split: str = "train", kind: str = "") -> Row:
    row = source.row(f"{source.key('a')}-{number:06d}", STAGE, kind, number, split)
    return replace(row, detail=json.dumps({"foreign_key": foreign_key}))
