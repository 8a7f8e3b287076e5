"""What a card holds, and which function makes it for which kind of sample."""

from __future__ import annotations

import io
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.shards.manifest import Row
from pipelines.shards.read import unfold_clips
from pipelines.shards.sample import encode_jpeg

CARDS = {
    "document": "cookhouse.preview.document:document_card",
    "video": "cookhouse.preview.video:video_card",
}
"""Sample kind -> ``module:function(Sampled) -> Card``. Every other kind is shown as a conversation."""
FALLBACK = "cookhouse.preview.conversation:conversation_card"

SIDE = 1000  # longest side of pictures on a sheet, pixels
QUALITY = 80


@dataclass(frozen=True)
class Sampled:
    """A written sample: its manifest row, its parts, its JSON. ``source_page(scale)`` gives the page it was made from
    as JPEG, or None when the file is not at hand."""

    row: Row
    parts: Mapping[str, bytes]
    sample: Mapping[str, Any]
    source_page: Callable[[float], bytes | None]


@dataclass(frozen=True)
class Box:
    """A frame on a picture: ``bbox`` in pixels of the picture as stored, its colour class, and what it says."""

    bbox: tuple[float, float, float, float]
    style: str
    label: str


@dataclass(frozen=True)
class Picture:
    """``data`` is a JPEG or PNG; ``size`` (width, height) are the pixels that boxes are given in. Neighbours of one
    ``group`` (the frames of a package) stand in one titled frame."""

    caption: str
    data: bytes
    size: tuple[int, int]
    boxes: tuple[Box, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Line:
    """A line of text beside the pictures: a coloured chip (``style``), what it is about, the text."""

    chip: str
    style: str
    about: str
    text: str


@dataclass(frozen=True)
class Card:
    """One sample on the sheet. ``facts`` are short, shown under the title; ``strip`` puts its pictures in a row of small
    ones (frames)."""

    title: str
    facts: tuple[str, ...]
    pictures: tuple[Picture, ...] = ()
    lines: tuple[Line, ...] = ()
    strip: bool = False


def make_card(sampled: Sampled) -> Card:
    """The card of a sample's kind."""
    return pkgutil.resolve_name(CARDS.get(sampled.row.kind, FALLBACK))(sampled)  # type: ignore[no-any-return]


def load(row: Row, parts: Mapping[str, bytes], source_page: Callable[[float], bytes | None]) -> Sampled:
    """A sample ready for its card; a stored clip is shown by its frames."""
    sample = json.loads(parts["json"])
    messages, frames = unfold_clips(sample["messages"], parts)
    jpegs = {name: encode_jpeg(frame, QUALITY) for name, frame in frames.items()}
    return Sampled(row, {**parts, **jpegs}, {**sample, "messages": messages}, source_page)


def shrunk(data: bytes, caption: str, boxes: tuple[Box, ...] = (), side: int = SIDE, group: str = "") -> Picture:
    """A stored picture small enough for a sheet; boxes stay in its own pixels."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        size = opened.size
        if max(size) <= side:
            return Picture(caption, data, size, boxes, group)
        picture = opened.convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return Picture(caption, encode_jpeg(picture, QUALITY, full_colour=False), size, boxes, group)
