"""Read samples: at random by byte offset for training, in sequence through a ``webdataset`` pipeline for stages.

Only part names on the allow-list come out, and decoding is explicit; webdataset's default decoder (which unpickles) is
never in the way.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import DataError
from pipelines.core.storage import is_url
from pipelines.shards.index import SampleRef
from pipelines.shards.remote import default_cache
from pipelines.shards.writer import PART, load_webdataset

if TYPE_CHECKING:
    from PIL import Image

_BLOCK = 512


@lru_cache(maxsize=64)
def _descriptor(path: str, process: int) -> _File:
    return _File(path)


class _File:
    """An open read-only descriptor, closed when it leaves the cache."""

    def __init__(self, path: str) -> None:
        try:
            self.number = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"shard cannot be opened: {error.strerror}", where=path) from error

    def __del__(self) -> None:
        if hasattr(self, "number"):
            os.close(self.number)


def read_range(path: str, offset: int, length: int) -> bytes:
    """``length`` bytes at ``offset`` of a file or URL; DataError if it is shorter. Thread-safe (``os.pread``), safe
    after a fork; of a URL the blocks around the range stay in the cache of this machine (``remote.ShardCache``)."""
    if is_url(path):
        data = default_cache().read(path, offset, length)
    else:
        file = _descriptor(path, os.getpid())  # held while reading: another thread may push it out of the cache
        data = os.pread(file.number, length, offset)
    if len(data) != length:
        raise _astray(f"shard is shorter than its index says: wanted {length} bytes at {offset}, got {len(data)}", path)
    return data


def _astray(what: str, where: str) -> DataError:
    """The error for bytes that are not those the manifest promises."""
    return DataError(what, where=where, do="run `cookhouse shards verify`")


@contextmanager
def opened(path: str) -> Iterator[tuple[int, Callable[[int, int], bytes]]]:
    """(size in bytes, ``read(offset, length)``) of a file as it is now or of a URL, for walks over a whole shard.
    ``read`` gives fewer bytes at the end. Raises DataError when it is not there."""
    if is_url(path):
        cache = default_cache()
        yield cache.describe(path).size, partial(cache.read, path)
        return
    file = _File(path)
    yield os.fstat(file.number).st_size, lambda offset, length: os.pread(file.number, length, offset)


def read_sample(ref: SampleRef) -> dict[str, bytes]:
    """Part name -> bytes of one sample, by one ``pread``.

    Raises DataError if the bytes at the address are not this sample (swapped, cut, or a single bit of it flipped: the
    sha256 of the index is checked on every read, 0.2 ms for a page)."""
    data = read_range(ref.shard, ref.offset, ref.length)
    proven = bool(ref.sha256) and hashlib.sha256(data).hexdigest() == ref.sha256
    parts = parse_sample(data, ref.key, ref.shard, proven=proven)
    if ref.sha256 and not proven:
        raise _astray(f"the bytes of sample {ref.key!r} are not those of the manifest", ref.shard)
    return parts


def parse_sample(data: bytes, key: str, where: str, *, proven: bool = False) -> dict[str, bytes]:
    """Split the tar bytes of exactly one sample into its allow-listed parts. With ``proven`` (their sha256 is the
    manifest's) the plain headers our writer makes are read by their columns; every other goes through ``tarfile``, which
    costs as much as a twentieth of a JPEG."""
    parts: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        plain = _plain_header(data, position) if proven else None
        try:
            header = plain or tarfile.TarInfo.frombuf(data[position : position + _BLOCK], "utf-8", "strict")
        except tarfile.HeaderError as error:
            raise _astray(f"sample {key!r}: no tar header at byte {position} of its range ({error})", where) from error
        found, _, part = header.name.partition(".")
        if found != key:
            raise _astray(f"sample {found!r} lies where the index promises {key!r}", where)
        start = position + _BLOCK
        if not 0 <= header.size <= len(data) - start:
            left = len(data) - start
            raise _astray(f"sample {key!r}: part {part!r} claims {header.size} bytes, {left} are left", where)
        if header.isreg() and PART.match(part):
            parts[part] = data[start : start + header.size]
        position = start + -(-header.size // _BLOCK) * _BLOCK
    return parts


def _plain_header(data: bytes, at: int) -> tarfile.TarInfo | None:
    """Name and size of a regular ustar member with a short name; None for anything less plain."""
    if data[at + 156 : at + 157] != b"0" or data[at + 257 : at + 262] != b"ustar" or data[at + 345 : at + 346] != b"\0":
        return None
    header = tarfile.TarInfo(data[at : at + 100].rstrip(b"\0").decode())
    header.size = int(data[at + 124 : at + 135], 8)
    return header


def read_json(ref: SampleRef) -> dict[str, Any]:
    """Only the JSON part of a sample."""
    return json.loads(read_sample(ref)["json"])


def decode_parts(parts: dict[str, bytes]) -> dict[str, Any]:
    """JSON -> dict, jpg and png -> RGB ``PIL.Image``, txt -> str, mp4 -> a list of pictures."""
    from PIL import Image

    decoded: dict[str, Any] = {}
    for name, data in parts.items():
        if name.endswith("json"):
            decoded[name] = json.loads(data)
        elif name.endswith("txt"):
            decoded[name] = data.decode()
        elif name.endswith("mp4"):
            decoded[name] = read_clip(data)
        else:
            image = Image.open(io.BytesIO(data))
            if image.mode == "RGB":
                image.load()  # converting would copy it
            decoded[name] = image if image.mode == "RGB" else image.convert("RGB")
    return decoded


def content_of(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The parts of a message's content; plain text is one part."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def pictures_of(part: Mapping[str, Any]) -> Sequence[str]:
    """Part names of the pictures a piece of content shows: one, those of a video, or none of a text."""
    return [part["part"]] if part["type"] == "image" else part.get("parts", ())


def pictures_shown(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Part names of all pictures, in the order the messages show them."""
    return [name for message in messages for part in content_of(message) for name in pictures_of(part)]


def unfold_clips(
    messages: Sequence[Mapping[str, Any]], parts: Mapping[str, bytes]
) -> tuple[list[dict[str, Any]], dict[str, Image.Image]]:
    """Messages in which stored clips (``{"type": "video", "part": "mp4"}``) are lists of frames like any other video, and
    those frames by the names the messages then use. Raises DataError as ``read_clip``."""
    pictures: dict[str, Image.Image] = {}
    unfolded = []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [_unfolded(part, parts, pictures) for part in content]
        unfolded.append({**message, "content": content})
    return unfolded, pictures


def _unfolded(part: dict[str, Any], parts: Mapping[str, bytes], pictures: dict[str, Image.Image]) -> dict[str, Any]:
    if part["type"] != "video" or "part" not in part:
        return part
    frames = {f"{part['part']}#{number}": frame for number, frame in enumerate(read_clip(parts[part["part"]]))}
    pictures |= frames
    return {"type": "video", "parts": list(frames), "ticks": part["ticks"]}


def read_clip(data: bytes) -> list[Image.Image]:
    """The frames of an MP4 part as RGB pictures. Raises DataError for bytes that are no whole clip."""
    import av

    try:
        with av.open(io.BytesIO(data), "r") as container:
            container.streams.video[0].codec_context.thread_count = 1
            return [frame.to_image() for frame in container.decode(video=0)]
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise DataError(f"a stored clip cannot be decoded: {error}", do="run `cookhouse shards verify`") from error


def stream(shard: str | os.PathLike[str], decode: bool = True) -> Any:
    """A ``webdataset.DataPipeline`` over one shard in file order: dicts with ``__key__``, ``__url__`` and the parts,
    decoded by ``decode_parts`` or as bytes. A damaged tar raises; it is never skipped with a warning."""
    wds = load_webdataset()
    path = os.fspath(shard)

    def source() -> Iterator[dict[str, Any]]:
        with Path(path).open("rb") as file:
            yield {"url": path, "stream": file}

    def only_allowed(sample: dict[str, Any]) -> dict[str, Any]:
        parts = {name: data for name, data in sample.items() if PART.match(name)}
        return {"__key__": sample["__key__"], "__url__": path, **(decode_parts(parts) if decode else parts)}

    return wds.DataPipeline(
        _Source(source),
        lambda files: wds.tariterators.tar_file_expander(files, handler=wds.reraise_exception),
        lambda members: wds.tariterators.group_by_keys(members, handler=wds.reraise_exception),
        wds.map(only_allowed, handler=wds.reraise_exception),
    )


class _Source:
    """webdataset calls the first stage of a pipeline; keep the generator function from being consumed once for all."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self) -> Iterator[dict[str, Any]]:
        return self.function()
