"""The artifact store: folders beside the data, and one exclusive create that makes a result real.

Readers open only what ``artifact.json`` names. A forced rebuild of the same key commits the next *generation*
(``artifact.0002.json``); the highest one wins and nothing is overwritten. There are no directory renames.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core.canonical import digest
from pipelines.workflow.artifact import Artifact
from pipelines.workflow.attempt import Attempt, read_units
from pipelines.workflow.files import create_json, read_json, sha256_file, translate_full_disk, write_json
from pipelines.workflow.keys import SHORT, Document
from pipelines.workflow.probe import HashCache

COMMIT = re.compile(r"artifact(?:\.(\d{4}))?\.json")


@dataclass(frozen=True)
class Record:
    """A committed ``artifact.json``, read: one small file, whatever the size of the result."""

    folder: Path
    generation: int
    data: Mapping[str, Any]

    @property
    def file(self) -> Path:
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
        return Artifact(
            self.folder,
            step,
            str(self.data["stage"]),
            self.key,
            self.stats,
            self.content_digest,
            str(self.data["manifest"]),
        )


@dataclass(frozen=True)
class Commit:
    """What the record of a result says beyond its files. ``inputs``: port -> [{step, key, content_digest, file}]."""

    step: str
    stage: str
    key: str
    document: Document
    config: Mapping[str, Any]
    inputs: Mapping[str, list[dict[str, str]]]
    source_hash: str
    deterministic: str
    provenance: Mapping[str, Any]


def commit_name(generation: int) -> str:
    return "artifact.json" if generation == 1 else f"artifact.{generation:04d}.json"


class Store:
    """All artifacts under one root folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))

    @cached_property
    def cache(self) -> HashCache:
        return HashCache(self.root / ".cache" / "probe.json")

    def folder(self, stage: str, label: str, key: str) -> Path:
        """Where the artifact of a key lies: under the name its step had when it was first tried, else under
        ``label``."""
        found = sorted((self.root / stage).glob(f"*-{key[:SHORT]}"))
        return found[0] if found else self.root / stage / f"{label}-{key[:SHORT]}"

    def find(self, stage: str, key: str) -> Record | None:
        """The committed result of a key, its highest generation, or None."""
        for folder in sorted((self.root / stage).glob(f"*-{key[:SHORT]}")):
            record = read_record(folder)
            if record is not None and record.key == key:
                return record
        return None

    def records(self, stage: str) -> Iterator[Record]:
        """Every committed result of a stage."""
        for folder in sorted((self.root / stage).glob(f"*-{'?' * SHORT}")):
            record = read_record(folder)
            if record is not None:
                yield record

    def attempts(self, folder: Path, generation: int | None = None) -> list[tuple[int, Path]]:
        """(number, folder) of the tries at one key, oldest first; only those of a generation when it is given."""
        found = []
        for path in (folder / "attempts").glob("*-*"):
            about = read_json(path / "attempt.json")
            if about and generation in (None, about["generation"]):
                found.append((int(about["number"]), path))
        return sorted(found)

    def pending_units(self, folder: Path, generation: int) -> int:
        """How many finished units a new attempt would adopt."""
        return len({name for _, path in self.attempts(folder, generation) for name in read_units(path)})

    def begin(self, folder: Path, *, generation: int = 1, limit: int | None = None, submission: str = "") -> Attempt:
        """A new attempt, with the earlier ones of the same generation as its elders. ``submission`` is the name under
        which a backend is asked for it; ``{number}`` in it becomes the attempt's number."""
        elders = self.attempts(folder, generation)
        every = self.attempts(folder)
        number = every[-1][0] + 1 if every else 1
        path = folder / "attempts" / f"{number}-{secrets.token_hex(3)}"
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise translate_full_disk(error, path) from error
        about = {"number": number, "generation": generation, "created": round(time.time(), 3)}
        write_json(path / "attempt.json", {**about, "submission": submission.format(number=number)})
        return Attempt(path, folder, limit, elders=tuple(elder for _, elder in elders))

    def commit(
        self, attempt: Attempt, about: Commit, stats: Mapping[str, Any], *, generation: int, seconds: float
    ) -> Record:
        """Publish an attempt: hash its files, write the manifest, create ``artifact.json``.

        When another process committed the same generation first, its record is returned and this attempt is only
        a folder; no two results of one generation can exist.
        """
        places = attempt.places()
        content: list[dict[str, Any]] = [
            {"path": name, "size": path.stat().st_size, "sha256": sha256_file(path)} for name, path in places.items()
        ]
        units = len(attempt.units())
        manifest: dict[str, Any] = {
            "schema": 1,
            "content": {"files": content, "bytes": sum(row["size"] for row in content), "units": units},
            "attendant": {
                "places": {name: path.relative_to(attempt.root).as_posix() for name, path in places.items()},
                "seconds": round(seconds, 3),
                "attempt": attempt.dir.name,
            },
        }
        write_json(attempt.dir / "manifest.json", manifest)
        record = {
            "schema": 1,
            **{
                name: getattr(about, name)
                for name in ("step", "stage", "key", "document", "config", "inputs", "source_hash")
            },
            "deterministic": about.deterministic,
            "generation": generation,
            "attempt": attempt.dir.name,
            "manifest": (attempt.dir / "manifest.json").relative_to(attempt.root).as_posix(),
            "content_digest": digest(manifest["content"]),
            "files": len(content),
            "bytes": manifest["content"]["bytes"],
            "stats": dict(stats),
            "seconds": round(seconds, 3),
            "created": round(time.time(), 3),
            "provenance": dict(about.provenance),
        }
        create_json(attempt.root / commit_name(generation), record)
        shutil.rmtree(attempt.dir / "scratch", ignore_errors=True)
        committed = read_record(attempt.root)
        assert committed is not None, "a record that was just created can be read"
        return committed


def read_record(folder: Path) -> Record | None:
    """The highest readable generation in a folder, or None."""
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    generations = sorted((int(match[1] or 1) for name in names if (match := COMMIT.fullmatch(name))), reverse=True)
    for generation in generations:
        data = read_json(folder / commit_name(generation))
        if data is not None:
            return Record(folder, generation, data)
    return None
