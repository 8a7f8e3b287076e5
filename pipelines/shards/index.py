"""The index: every sample of some artifacts, with its costs known before anything is decoded.

Built from manifests alone. Readers take the file list from committed manifests, never from a folder listing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipelines.core.errors import DataError
from pipelines.shards.manifest import read_table

UNLABELLED = "unlabelled"
"""Tag of samples without any target text: kept for people and later labelling, never trained on by default."""


class ShardFolder(Protocol):
    """What is read: a committed artifact of the workflow, or a plain folder (``Folder``)."""

    @property
    def step(self) -> str: ...

    def path(self, rel: str) -> Path: ...

    def glob(self, pattern: str) -> list[Path]: ...


@dataclass(frozen=True)
class Folder:
    """A plain folder with ``shards/`` and ``manifest/`` read like an artifact."""

    root: Path
    step: str = "folder"

    def path(self, rel: str) -> Path:
        return self.root / rel

    def glob(self, pattern: str) -> list[Path]:
        return sorted(self.root.glob(pattern))


@dataclass(frozen=True)
class SampleRef:
    """A sample by address. ``offset`` and ``length`` are bytes in ``shard`` (absolute path); ``views`` counts pictures
    (video frames included), ``frames`` only video frames, ``width`` and ``height`` are pixels of the first picture."""

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


_COLUMNS = (
    "shard",
    "key",
    "offset",
    "length",
    "split",
    "kind",
    "views",
    "frames",
    "text_bytes",
    "tags",
    "width",
    "height",
    "sha256",
    "source_digest",
    "item",
)


class ShardIndex:
    """All written samples of some artifacts, in manifest order."""

    def __init__(self, refs: Iterable[SampleRef]) -> None:
        self.refs: tuple[SampleRef, ...] = tuple(refs)

    @classmethod
    def from_artifacts(cls, artifacts: Iterable[ShardFolder]) -> ShardIndex:
        """Read ``manifest/*.parquet`` of each. ``SampleRef.dataset`` is the artifact's step name.

        Raises DataError for an artifact without manifests, or a step name used twice (mixing could not tell them
        apart)."""
        refs: list[SampleRef] = []
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
            paths: dict[str, str] = {}
            for manifest in manifests:
                table = read_table(manifest)
                columns = {name: table.column(name).to_pylist() for name in (*_COLUMNS, "status")}
                for number, status in enumerate(columns["status"]):
                    if status != "ok":
                        continue
                    cells = {name: columns[name][number] for name in _COLUMNS}
                    logical = cells["shard"]
                    if logical not in paths:
                        paths[logical] = str(artifact.path(logical).absolute())
                    refs.append(
                        SampleRef(
                            dataset=artifact.step, **{**cells, "shard": paths[logical], "tags": tuple(cells["tags"])}
                        )
                    )
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

    def by_dataset(
        self, split: str | None = None, kind: str | None = None, tag: str | None = None
    ) -> dict[str, list[SampleRef]]:
        """The same selection grouped by dataset, as ``mix`` takes it; datasets without a match are left out."""
        grouped: dict[str, list[SampleRef]] = {}
        for ref in self.select(split=split, kind=kind, tag=tag):
            grouped.setdefault(ref.dataset, []).append(ref)
        return grouped

    def __len__(self) -> int:
        return len(self.refs)
