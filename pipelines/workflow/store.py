"""The artifact store: folders beside the data, and one exclusive create that makes a result real.

Readers open only what ``artifact.json`` names. A forced rebuild of the same key commits the next *generation*
(``artifact.0002.json``); the highest one wins and nothing is overwritten. There are no directory renames.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.canonical import digest
from pipelines.core.storage import Place, Remote
from pipelines.workflow.artifact import Artifact
from pipelines.workflow.attempt import Attempt, read_units, work_folder
from pipelines.workflow.files import create_json, read_json, write_json
from pipelines.workflow.keys import SHORT, Document
from pipelines.workflow.probe import HashCache

COMMIT = re.compile(r"artifact(?:\.(\d{4}))?\.json")
NOT_STAGES = ("runs", "sweeps", "logs", "mlflow-artifacts")
"""Folders of a root that hold no artifacts."""


@dataclass(frozen=True)
class Record:
    """A committed ``artifact.json``, read: one small file, whatever the size of the result."""

    folder: Place
    generation: int
    data: Mapping[str, Any]

    @property
    def file(self) -> Place:
        return self.folder / commit_name(self.generation)

    @property
    def key(self) -> str:
        return str(self.data["key"])

    @property
    def step(self) -> str:
        return str(self.data["step"])

    @property
    def document(self) -> Document:
        return dict(self.data["document"])

    @property
    def content_digest(self) -> str:
        return str(self.data["content_digest"])

    @property
    def stats(self) -> dict[str, Any]:
        return dict(self.data["stats"])

    def open(self, step: str) -> Artifact:
        """The artifact under the name the recipe gives its step."""
        stage, manifest = str(self.data["stage"]), str(self.data["manifest"])
        return Artifact(self.folder, step, stage, self.key, self.stats, self.content_digest, manifest)


def commit_name(generation: int) -> str:
    return "artifact.json" if generation == 1 else f"artifact.{generation:04d}.json"


Listing = dict[str, list[Place]]


class Store:
    """All artifacts under one root: a folder, or a URL fsspec knows (``s3://bucket/prefix``).

    ``home`` is where this machine keeps its own notes: run records, the local Ray, caches, the tracking database. It is
    the root itself when that is local.
    """

    def __init__(self, root: str | os.PathLike[str] | Remote) -> None:
        found = storage.place(root)
        self.root: Place = found if isinstance(found, Remote) else Path(os.path.abspath(found))
        self.home = storage.home_of(self.root)

    @cached_property
    def cache(self) -> HashCache:
        return HashCache(self.home / ".cache" / "probe.json")

    def stages(self) -> list[str]:
        return [name for name in storage.names(self.root) if name not in NOT_STAGES and not name.startswith(".")]

    def listing(self, stage: str) -> Listing:
        """The folders of a stage's keys, committed or not, by the digits of the key that their names show."""
        parent = self.root / stage
        found: Listing = {}
        for name in storage.names(parent):
            label, _, short = name.rpartition("-")
            if label and len(short) == SHORT:
                found.setdefault(short, []).append(parent / name)
        return found

    def folder(self, stage: str, label: str, key: str, listing: Listing | None = None) -> Place:
        """Where the artifact of a key lies: under the name its step had when it was first tried, else under
        ``label``. ``listing`` saves looking again when many keys of a stage are asked for."""
        known = (self.listing(stage) if listing is None else listing).get(key[:SHORT])
        return known[0] if known else self.root / stage / f"{label}-{key[:SHORT]}"

    def find(self, stage: str, key: str, listing: Listing | None = None) -> Record | None:
        """The committed result of a key, its highest generation, or None; ``listing`` as in :meth:`folder`."""
        for folder in (self.listing(stage) if listing is None else listing).get(key[:SHORT], ()):
            record = read_record(folder)
            if record is not None and record.key == key:
                return record
        return None

    def records(self, stage: str) -> Iterator[Record]:
        folders = itertools.chain.from_iterable(self.listing(stage).values())
        return filter(None, map(read_record, folders))

    def attempts(self, folder: Place, generation: int | None = None) -> list[tuple[int, Place]]:
        """(number, folder) of the tries at one key, oldest first; only those of a generation when it is given."""
        found = []
        for name in storage.names(folder / "attempts"):
            about = read_json(folder / "attempts" / name / "attempt.json")
            if about and generation in (None, about["generation"]):
                found.append((int(about["number"]), name))
        return [(number, folder / "attempts" / name) for number, name in sorted(found)]

    def pending_units(self, folder: Place, generation: int) -> int:
        """How many finished units a new attempt would adopt."""
        return len({name for _, path in self.attempts(folder, generation) for name in read_units(path)})

    def begin(self, folder: Place, *, generation: int = 1, limit: int | None = None, submission: str = "") -> Attempt:
        """A new attempt, with the earlier ones of the same generation as its elders. ``submission`` is the name under
        which a backend is asked for it; ``{number}`` and ``{token}`` in it become the attempt's. The token is in the name
        because two stores may hold the same key and share a cluster."""
        every = self.attempts(folder)
        number = every[-1][0] + 1 if every else 1
        token = secrets.token_hex(3)
        path = folder / "attempts" / f"{number}-{token}"
        about = {"number": number, "generation": generation, "created": round(time.time(), 3)}
        write_json(path / "attempt.json", {**about, "submission": submission.format(number=number, token=token)})
        elders = (elder for _, elder in self.attempts(folder, generation) if elder != path)
        return Attempt(work_folder(path), path, limit, tuple(elders))


def commit(attempt: Attempt, about: Mapping[str, Any], stats: Mapping[str, Any], *, seconds: float) -> Record:
    """Publish an attempt: write the manifest from what its units say and what else lies there, create ``artifact.json``.
    ``about``: what the record says beyond its files and figures, its ``generation`` above all.

    When another process committed the same generation first, its record is returned and this attempt is only
    a folder; no two results of one generation can exist.
    """
    results = attempt.results()
    content = [{"path": name, **file} for name, (_, file) in results.items()]
    units = sum(1 for receipt in attempt.units().values() if receipt.get("files"))
    manifest: dict[str, Any] = {
        "schema": 1,
        "content": {"files": content, "bytes": sum(row["size"] for row in content), "units": units},
        "attendant": {
            "places": {name: f"attempts/{holder}/{name}" for name, (holder, _) in results.items()},
            "seconds": round(seconds, 3),
            "attempt": attempt.place.name,
        },
    }
    write_json(attempt.place / "manifest.json", manifest)
    record = {
        "schema": 1,
        **about,
        "attempt": attempt.place.name,
        "manifest": f"attempts/{attempt.place.name}/manifest.json",
        "content_digest": digest(manifest["content"]),
        "files": len(content),
        "bytes": manifest["content"]["bytes"],
        "stats": dict(stats),
        "seconds": round(seconds, 3),
        "created": round(time.time(), 3),
    }
    create_json(attempt.root / commit_name(about["generation"]), record)
    for name in set(storage.names(attempt.dir)) - {"logs"} if attempt.carries else ("scratch", "elders"):
        storage.delete(attempt.dir / name)
    committed = read_record(attempt.root)
    assert committed is not None, "a record that was just created can be read"
    return committed


def read_record(folder: Place, below: int | None = None) -> Record | None:
    """The highest readable generation in a folder, of those ``below`` one where it is given, or None."""
    for generation in reversed(generations(folder)):
        if below is None or generation < below:
            data = read_json(folder / commit_name(generation))
            if data is not None:
                return Record(folder, generation, data)
    return None


def generations(folder: Place) -> list[int]:
    """The numbers of what was committed in a folder, rising."""
    found = (COMMIT.fullmatch(name) for name in storage.names(folder))
    return sorted(int(match[1] or 1) for match in found if match)
