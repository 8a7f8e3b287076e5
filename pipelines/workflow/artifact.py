"""A committed result as the next stage sees it: a folder, opened only through its ``artifact.json``.

    {root}/{stage}/{label}-{key12}/
        artifact.json            the commit: created exclusively, names the attempt that won (0002, 0003 ... when
        forced) lease.json               who works on the key now
        attempts/1-3f9a1c/       one try: the stage's files, units/, logs/, scratch/, manifest.json

A *logical* name is a path inside an attempt (``shards/train-000000.tar``). The manifest says which attempt holds it,
because a later attempt adopts the finished units of the earlier ones instead of making them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError


@dataclass(frozen=True)
class Artifact:
    """One committed result. ``step`` is the name the recipe gives it, ``key`` its identity (64 hex digits),
    ``content_digest`` the sha256 over the names, sizes and sha256 of its files. Cheap to pickle."""

    root: Path
    step: str
    stage: str
    key: str
    stats: Mapping[str, Any] = field(default_factory=dict)
    content_digest: str = ""
    manifest: str = ""

    @classmethod
    def from_folder(
        cls, folder: Path, step: str, stage: str = "folder", stats: Mapping[str, Any] | None = None
    ) -> Artifact:
        """A plain folder taken as it lies, without manifest or key: every file under it is a logical name. For tests
        and for looking at data that no run made."""
        return cls(Path(folder), step, stage, key="", stats=dict(stats or {}))

    @cached_property
    def places(self) -> dict[str, str]:
        """Logical name -> path relative to ``root``, sorted. Reads the manifest once."""
        if not self.manifest:
            found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
            return {name: name for name in sorted(found)}
        try:
            loaded = json.loads((self.root / self.manifest).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(
                f"the manifest of step '{self.step}' cannot be read",
                where=str(self.root / self.manifest),
                why=str(error),
                do=f"rebuild it: cookhouse run ... --force {self.step}",
            ) from error
        return dict(sorted(loaded["attendant"]["places"].items()))

    @property
    def names(self) -> tuple[str, ...]:
        """The logical names, sorted."""
        return tuple(self.places)

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all files relative to ``root``, in the order of their logical names."""
        return tuple(self.places.values())

    def path(self, name: str) -> Path:
        """Where a logical name (``shards/train-000000.tar``, or a folder of such names like ``model``) lies. A path
        relative to ``root`` is taken too. Raises DataError for a name the artifact does not hold."""
        if name in self.places:
            return self.root / self.places[name]
        prefix = name.rstrip("/") + "/"
        folders = {
            place[: -len(logical) + len(prefix) - 1]
            for logical, place in self.places.items()
            if logical.startswith(prefix)
        }
        if len(folders) == 1:
            return self.root / folders.pop()
        if not folders and (self.root / name).exists():
            return self.root / name
        raise DataError(
            f"step '{self.step}' ({self.stage}) has no '{name}'"
            if not folders
            else f"'{name}' of step '{self.step}' lies in several attempts",
            where=str(self.root),
            why=f"it holds {len(self.places)} files"
            + (f", among them {', '.join(list(self.places)[:5])}" if self.places else ""),
        )

    def glob(self, pattern: str) -> list[Path]:
        """The files whose logical name matches (``shards/*.tar``; ``*`` also crosses ``/``), sorted by that name."""
        return [self.root / place for name, place in self.places.items() if fnmatchcase(name, pattern)]
