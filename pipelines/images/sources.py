"""Where captioned pictures come from: tables of names and texts, sidecars, and WebDataset tars of other makers."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.core.errors import DataError
from pipelines.shards.tables import read_rows

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
TAR = ".tar"
TABLES = ("captions.jsonl", "captions.parquet")
SIDECARS = (".txt", ".json")
_NAMES, _TEXTS = ("file", "uri", "image", "path"), ("caption", "text")


@dataclass(frozen=True)
class Member:
    """One sample of a foreign tar: its key, the bytes of its picture, its text ("" without one)."""

    key: str
    picture: bytes
    caption: str


def read_captions(path: Path, folder: str = "") -> dict[str, str]:
    """File name -> caption from rows ``{"file", "caption"}`` (or ``uri`` and ``text``) of JSON lines or Parquet; ``folder``
    is put before names that lack it.

    Raises DataError for a row of another form."""
    prefix = f"{folder}/" if folder else ""
    captions = {}
    for number, row in read_rows(path):
        try:
            if isinstance(row, ValueError):
                raise row
            name, caption = _first(row, _NAMES), _first(row, _TEXTS)
        except ValueError as error:
            raise DataError(
                f"row {number + 1} is not a caption row",
                where=str(path),
                why=str(error),
                do='rows look like {"file": "a.png", "caption": "A red circle."}',
            ) from error
        captions[name if name.startswith(prefix) else prefix + name] = caption.strip()
    return captions


def read_sidecar(path: Path) -> str:
    """The text of ``{stem}.txt``, or ``caption`` (or ``text``) of ``{stem}.json``. Raises ValueError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return text.strip() if path.suffix == ".txt" else _caption_of(json.loads(text))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"not readable: {error}") from error


def read_tar(path: Path) -> Iterator[Member]:
    """Samples of a WebDataset tar in order: a picture, and a text in ``txt``, ``caption`` or in the ``json``. Members
    without a picture are passed over. Raises ValueError where the tar is damaged, after what came before it."""
    key, parts = "", dict[str, bytes]()
    end = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                end = member.offset_data + -(-member.size // 512) * 512
                if not member.isfile():
                    continue
                place = PurePosixPath(member.name)
                stem, _, part = place.name.partition(".")
                name = str(place.parent / stem)
                if name != key and parts:
                    yield from _member(key, parts)
                if name != key:
                    key, parts = name, {}
                file = tar.extractfile(member)
                data = file.read() if file else b""
                if len(data) < member.size:
                    raise ValueError(f"the tar ends inside {member.name}")
                parts[part.lower()] = data
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"not a whole tar: {error}") from error
    yield from _member(key, parts)
    with path.open("rb") as whole:  # cut between two members it looks whole to every reader
        whole.seek(end)
        if whole.read(512) != bytes(512):
            raise ValueError("the tar ends without its end mark: it was cut, or its writer died")


def _member(key: str, parts: Mapping[str, bytes]) -> Iterator[Member]:
    picture = next((data for part, data in parts.items() if f".{part.rpartition('.')[2]}" in SUFFIXES), None)
    if picture is None:
        return
    caption = ""
    for part in ("txt", "caption"):
        caption = caption or parts.get(part, b"").decode("utf-8", "replace").strip()
    if not caption and "json" in parts:
        try:
            caption = _caption_of(json.loads(parts["json"]))
        except (ValueError, UnicodeDecodeError):
            caption = ""
    yield Member(key, picture, caption)


def _caption_of(value: Any) -> str:
    if not isinstance(value, Mapping):
        raise ValueError("not a JSON object")
    return _first(value, _TEXTS).strip()


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = next((row[name] for name in names if row.get(name) is not None), None)
    if not isinstance(found, str):
        raise ValueError(f"no text under {' or '.join(names)}")
    return found
