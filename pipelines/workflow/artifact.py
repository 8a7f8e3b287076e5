"""A committed result as the next stage sees it: a folder, opened only through its ``artifact.json``.

    {root}/{stage}/{label}-{key12}/
        artifact.json        the commit: created exclusively, names the attempt that won (0002, 0003 ... when forced)
        lease.json           who works on the key now
        attempts/1-3f9a1c/   one try: the stage's files, units/, logs/, scratch/, manifest.json

A *logical* name is a path inside an attempt (``shards/train-000000.tar``). The manifest says which attempt holds it,
because a later attempt adopts the finished units of the earlier ones instead of making them again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core import storage
from pipelines.core.errors import DataError
from pipelines.core.storage import Place, Remote
from pipelines.workflow.files import read_json


@dataclass(frozen=True)
class Artifact:
    """One committed result. ``step`` is the name the recipe gives it, ``key`` its identity (64 hex digits),
    ``content_digest`` the sha256 over the names, sizes and sha256 of its files. Cheap to pickle."""

    root: Place
    step: str
    stage: str
    key: str
    stats: Mapping[str, Any]
    content_digest: str
    manifest: str

    @property
    def named(self) -> dict[str, str]:
        """How the record of a result names one of its inputs."""
        return {"step": self.step, "key": self.key, "content_digest": self.content_digest, "folder": str(self.root)}

    @cached_property
    def _manifest(self) -> dict[str, Any]:
        where, do = self.root / self.manifest, f"rebuild it: cookhouse run ... --force {self.step}"
        loaded = read_json(where)
        if not isinstance(loaded, dict):
            what = f"the manifest of step '{self.step}' cannot be read"
            raise DataError(what, where=str(where), why="it is missing or torn", do=do)
        return loaded

    @cached_property
    def places(self) -> dict[str, str]:
        """Logical name -> path relative to ``root``, sorted. Reads the manifest once."""
        return dict(sorted(self._manifest["attendant"]["places"].items()))

    @property
    def names(self) -> tuple[str, ...]:
        """The logical names, sorted."""
        return tuple(self.places)

    def path(self, name: str) -> Path:
        """Where a logical name (``shards/train-000000.tar``, or a folder of such names like ``model``) lies on this
        machine; files of a remote store are copied down first and checked against the manifest. A path relative to
        ``root`` is taken too. Raises DataError for a name the artifact does not hold."""
        if name in self.places:
            return self._local(name)
        prefix = name.rstrip("/") + "/"
        inside = [logical for logical in self.places if logical.startswith(prefix)]
        folders = {self.places[logical][: -len(logical) + len(prefix) - 1] for logical in inside}
        if len(folders) == 1:
            for logical in inside:
                self._local(logical)
            return self._copies / folders.pop()
        if not folders and isinstance(self.root, Path) and (self.root / name).exists():
            return self.root / name
        what = f"step '{self.step}' ({self.stage}) has no '{name}'"
        if folders:
            what = f"'{name}' of step '{self.step}' lies in several attempts"
        among = f", among them {', '.join(list(self.places)[:5])}" if self.places else ""
        raise DataError(what, where=str(self.root), why=f"it holds {len(self.places)} files{among}")

    def address(self, name: str) -> str:
        """Where a logical name lies, as an absolute path or as the URL in a remote store; nothing is fetched. Raises
        DataError for a name the artifact does not hold."""
        place = self.root / self.places[name] if name in self.places else self.path(name)
        return place.url if isinstance(place, Remote) else os.path.abspath(place)

    def glob(self, pattern: str) -> list[Path]:
        """The files whose logical name matches (``shards/*.tar``; ``*`` also crosses ``/``), sorted by that name; see
        :meth:`path` for a remote store."""
        found = [name for name in self.places if fnmatchcase(name, pattern)]
        if isinstance(self.root, Path):
            return [self._local(name) for name in found]
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(self._local, found))

    @property
    def _copies(self) -> Path:
        """The folder under which the files lie on this machine: ``root`` itself, or that of its copies."""
        if isinstance(self.root, Path):
            return self.root
        return storage.home_of(self.root.parent.parent) / "copies" / self.root.parent.name / self.root.name

    def _local(self, name: str) -> Path:
        where = self.places[name]
        if isinstance(self.root, Path):
            return self.root / where
        return storage.download(self.root / where, self._copies / where, sha256=self.sha256[name])

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Logical name -> sha256. Raises DataError when the manifest is gone."""
        return {row["path"]: row["sha256"] for row in self._manifest["content"]["files"]}

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Logical name -> bytes. Raises DataError when the manifest is gone."""
        return {row["path"]: row["size"] for row in self._manifest["content"]["files"]}
