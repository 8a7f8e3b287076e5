"""The index: every sample of some artifacts, with its costs known before anything is decoded.

Built from manifests alone. Readers take the file list from committed manifests, never from a folder listing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Protocol

from pipelines.core import storage
from pipelines.core.errors import DataError
from pipelines.core.storage import About, Place
from pipelines.shards.manifest import facts_of, read_table
from pipelines.shards.remote import nothing_at

UNLABELLED = "unlabelled"
"""Tag of samples without any target text: kept for people and later labelling, never trained on by default."""


class ShardFolder(Protocol):
    """What is read: a committed artifact of the workflow or a plain folder (``Folder``). ``names`` are the logical
    names it holds, ``path`` is a file on this machine, ``address``
    what ``read_range`` takes (an absolute path or a URL, nothing is fetched)."""

    @property
    def step(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    def address(self, rel: str) -> str: ...

    def path(self, rel: str) -> Path: ...

    def glob(self, pattern: str) -> list[Path]: ...


@dataclass(frozen=True)
class Folder:
    """A plain folder with ``shards/`` and ``manifest/``, here or in an object store, read like an artifact: of a remote
    one shards by range and manifests whole."""

    root: Place
    step: str = "folder"

    @property
    def names(self) -> tuple[str, ...]:
        folders = ("manifest", "shards")
        return tuple(sorted(f"{folder}/{name}" for folder in folders for name in storage.files(self.root / folder)))

    def address(self, rel: str) -> str:
        return str((self.root / rel).absolute() if isinstance(self.root, Path) else self.root / rel)

    def path(self, rel: str) -> Path:
        try:
            return storage.local_file(self.root / rel)
        except FileNotFoundError as error:
            raise nothing_at(self.address(rel)) from error

    def glob(self, pattern: str) -> list[Path]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # a thousand manifests one after the other would be a minute
            return list(pool.map(self.path, (name for name in self.names if fnmatchcase(name, pattern))))


@dataclass(frozen=True)
class SampleRef:
    """A sample by address. ``offset`` and ``length`` are bytes in ``shard`` (absolute path or URL); ``views`` counts
    pictures (video frames included), ``frames`` only video frames, ``width`` and ``height`` are pixels of the first
    picture."""

    dataset: str
    shard: str
    key: str
    offset: int
    length: int
    split: str
    kind: str
    views: int
    frames: int
    text_bytes: int
    tags: tuple[str, ...]
    width: int = 0
    height: int = 0
    sha256: str = ""
    source_digest: str = ""
    item: int = 0


_COLUMNS = tuple(field.name for field in fields(SampleRef))[1:]
"""Columns of the manifest in the order of the record; ``dataset`` is not one."""
_TAGS = _COLUMNS.index("tags") - 1
_READERS = 4  # manifests opened at once
_AT_ONCE = 16  # manifests copied down at once


class ShardIndex:
    """All written samples of some artifacts, in manifest order."""

    def __init__(self, refs: Iterable[SampleRef]) -> None:
        self.refs: tuple[SampleRef, ...] = tuple(refs)

    @classmethod
    def from_artifacts(cls, artifacts: Iterable[ShardFolder]) -> ShardIndex:
        """Read ``manifest/*.parquet`` of each. ``SampleRef.dataset`` is the artifact's step name.

        Raises DataError for an artifact without manifests, a step name used twice (mixing could not tell them apart), a
        shard reached under two names (its samples would come in the same order twice), and a shard that is missing or
        has another size than its manifest says."""
        refs: list[SampleRef] = []
        owner: dict[str, str] = {}
        seen: set[str] = set()
        for artifact in artifacts:
            if artifact.step in seen:
                raise DataError(f"two shard inputs are called {artifact.step!r}", do="give the steps different names")
            seen.add(artifact.step)
            manifests = artifact.glob("manifest/*.parquet")
            if not manifests:
                raise DataError(
                    f"{artifact.step} holds no shard manifests",
                    do="give a step that writes shards, or a folder with manifest/*.parquet",
                )
            sizes: dict[str, int] = {}
            with ThreadPoolExecutor(_READERS) as pool:  # Parquet is read outside the interpreter's lock
                for found, expected in pool.map(partial(_read_refs, artifact), manifests):
                    refs += found
                    sizes |= expected
            check_sizes(sizes)
            for address in sizes:
                if address in owner:
                    raise DataError(
                        f"{owner[address]!r} and {artifact.step!r} hold the same shard",
                        where=address,
                        why="its samples would come twice, in the same order",
                        do="take one of the two out; to see it more often raise its weight or repetitions",
                    )
                owner[address] = artifact.step
        return cls(refs)

    def select(
        self,
        split: str | None = None,
        kind: str | None = None,
        tag: str | None = None,
        dataset: str | None = None,
        unlabelled: bool = False,
    ) -> list[SampleRef]:
        """Samples that match every argument given. Samples tagged ``unlabelled`` come only when asked for by
        ``unlabelled=True`` or ``tag="unlabelled"``."""
        keep_unlabelled = unlabelled or tag == UNLABELLED
        return [
            ref
            for ref in self.refs
            if (split is None or ref.split == split)
            and (kind is None or ref.kind == kind)
            and (dataset is None or ref.dataset == dataset)
            and (tag is None or tag in ref.tags)
            and (keep_unlabelled or UNLABELLED not in ref.tags)
        ]

    def __len__(self) -> int:
        return len(self.refs)


def _read_refs(artifact: ShardFolder, manifest: Path) -> tuple[list[SampleRef], dict[str, int]]:
    """The written samples of one manifest, and the size its shard must have by address."""
    table = read_table(manifest, ("status", *_COLUMNS))
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    addresses: dict[str, str] = {}
    refs = []
    rows = zip(columns["status"], *(columns[name] for name in _COLUMNS), strict=True)
    for status, logical, *cells in rows:
        if status != "ok":
            continue
        if logical not in addresses:
            addresses[logical] = artifact.address(logical)
        cells[_TAGS] = tuple(cells[_TAGS])
        refs.append(SampleRef(artifact.step, addresses[logical], *cells))
    size = int(facts_of(table).get("size", 0))
    return refs, dict.fromkeys(addresses.values(), size)


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Raise DataError for the first shard (by address) that is not there or has not as many bytes as it should."""
    listed: dict[str, dict[str, About]] = {}
    for address, size in sizes.items():
        folder, _, name = address.rpartition("/")
        if folder not in listed:
            listed[folder] = storage.files(storage.place(folder))
        found = listed[folder][name].size if name in listed[folder] else None
        if found != size:
            raise DataError(
                "a shard is missing" if found is None else f"a shard has {found} bytes, its manifest says {size}",
                where=address,
                do="run `cookhouse shards verify`, restore the file, or rebuild the step with --force",
            )
