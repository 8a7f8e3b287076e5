"""Canonical JSON: one byte string per value, or an error. Keys and digests are made from it and from nothing else."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value, path)
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path}: {value!r} has no canonical form")
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name), f"{path}.{name}") for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{path}: key {key!r} is not a string")
        return {key: _plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item, f"{path}[{i}]") for i, item in enumerate(value)]
    raise TypeError(
        f"{path}: {type(value).__name__} has no canonical form (callables, sets, bytes and objects never enter a key)"
    )


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no blanks. Raises TypeError or ValueError for what has no canonical form:
    callables, sets, bytes, NaN, infinities, objects. Floats keep ``repr`` precision, so 1 and 1.0 differ."""
    plain = _plain(value, "value")
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: Any) -> str:
    """sha256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """(path, value) of every leaf of a JSON value: a list of plain values is one, and so is an empty list or object."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from leaves(item, (*path, str(name)))
    elif isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def dotted(value: Any) -> dict[str, Any]:
    """``leaves`` by the name a person can type as an override: ``phases.0.lr``."""
    return {".".join(map(str, path)): item for path, item in leaves(value)}
