"""The explicit look at the world before the pure planner: source folders, external files, tool versions.

A source enters a key as the digest of its listing (relative name, size, sha256). Content hashes are cached by path,
size and modification time, so planning over a large folder reads its bytes once.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import importlib.metadata
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.core import storage
from pipelines.core.canonical import digest
from pipelines.core.errors import ConfigError
from pipelines.core.identity import ExternalFile, Record, StageConfig, sources_of
from pipelines.core.storage import About
from pipelines.workflow.files import read_json, write_json
from pipelines.workflow.stage import SourceFile, StageDef

Origin = Callable[[str], str]
"""Field name -> where its value was written (``conf/recipe/tiny.yaml:12`` or ``command line``)."""


@dataclass(frozen=True)
class Probed:
    """What the probe found for one step. ``config`` is the given one with absolute paths in source fields and external
    files; ``files`` and ``digests`` are per source field; ``tools`` are versions and digests."""

    config: Any
    files: dict[str, tuple[SourceFile, ...]] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)


class HashCache:
    """sha256 of files by (path, size, mtime), kept in ``{root}/.cache/probe.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[Any]] = read_json(path) or {}
        self._dirty = False
        self._read = 0

    def told(self) -> str:
        """``3.1 GB of sources read``, nothing while every hash was known: for whoever waits."""
        return f"{self._read / 1e9:.1f} GB of sources read" if self._read else ""

    def sha256(self, path: Path) -> str:
        """The hash of a file's bytes; read only when size or modification time changed. Raises OSError."""
        status = path.stat()
        known = self._known.get(str(path))
        if known and known[:2] == [status.st_size, status.st_mtime_ns]:
            return str(known[2])
        value = storage.sha256_of(path)
        self._read += status.st_size
        self._known[str(path)] = [status.st_size, status.st_mtime_ns, value]
        self._dirty = True
        return value

    def save(self) -> None:
        if self._dirty:
            write_json(self.path, self._known)
            self._dirty = False


def probe_step(
    definition: StageDef,
    config: StageConfig,
    cache: HashCache,
    *,
    limit: int | None = None,
    folder: str | os.PathLike[str] = "",
    origin: Origin = lambda _: "",
) -> Probed:
    """Look at everything outside the store that one step depends on; relative paths are those of ``folder``.

    Raises ConfigError for a source that does not exist, is empty or cannot be read, and for an external file that is
    missing or has another sha256.
    """
    files, digests, replaced = {}, {}, {}
    for name, value in sources_of(config).items():
        written = origin(name)
        where = f"{name} of stage {definition.name}" + (f", set in {written}" if written else "")
        files[name] = tuple(list_source(value, cache, limit=limit, where=where, folder=folder))
        digests[name] = digest([[item.name, item.size, item.sha256] for item in files[name]])
        replaced[name] = absolute(value, folder)
    locate = functools.partial(ExternalFile.locate, hash_of=cache.sha256, folder=folder)
    config = _with_external_files(config.model_copy(update=replaced), locate, origin)
    tools = {engine: engine_version(engine) for engine in definition.engines}
    if definition.tool_digest is not None:
        tools |= dict(definition.tool_digest(config))
    return Probed(config, files, digests, tools)


def absolute(value: str, folder: str | os.PathLike[str] = "") -> str:
    """A path or glob of ``folder`` (default: the working directory) as it can be used from anywhere; a URL as it is."""
    return value if storage.is_url(value) else os.path.abspath(os.path.join(folder, os.path.expanduser(value)))


def list_source(
    value: str, cache: HashCache, *, limit: int | None = None, where: str = "", folder: str | os.PathLike[str] = ""
) -> list[SourceFile]:
    """The files of a folder (recursive), a glob or a single file, local or by URL (``s3://bucket/pdfs``), in the order of
    their relative names; with ``limit`` those that ``first_of_each_kind`` keeps. Hidden files are left out; a file that
    cannot be read is listed with an empty sha256, so that the stage accounts for it. An object of a remote store is not
    read: its ETag stands for its bytes.

    Raises ConfigError when nothing is there, nothing is in it, or nothing in it can be read, InfraError when the store
    does not answer.
    """
    remote = storage.is_url(value)
    path = absolute(value, folder)
    found: list[tuple[str, str, About | None]] = sorted(
        storage.search(path) if remote else ((name, file, None) for name, file in _walk(path)),
        key=lambda item: item[:2],
    )
    if not found:
        what, do = "holds no file", "put files there or give another folder"
        why = f"{path} is empty (hidden files do not count)"
        if remote or glob.has_magic(path):
            why = f"{path} matches nothing"
        elif not os.path.lexists(path):
            what, why = "does not exist", f"there is nothing at {path}"
            do = "give a folder, a file or a quoted glob: source.documents=/data/pdfs"
        raise ConfigError(f"the source '{value}' {what}", where=where, why=why, do=do)
    if limit is not None:
        kept = first_of_each_kind((name for name, _, _ in found), limit)
        found = [item for item in found if item[0] in kept]
    listing = []
    reason = ""
    for name, file, about in found:
        if about is not None:
            stamp = hashlib.sha256(f"etag:{about.stamp}".encode()).hexdigest()
            listing.append(SourceFile(file, name, about.size, stamp))
            continue
        try:
            listing.append(SourceFile(file, name, os.path.getsize(file), cache.sha256(Path(file))))
        except OSError as error:
            reason = f"{file}: {error.strerror}"
            listing.append(SourceFile(file, name, 0, ""))
    if not any(item.sha256 for item in listing):
        what = f"no file of the source '{value}' can be read"
        raise ConfigError(what, where=where, why=reason, do="check the permissions")
    return listing


def first_of_each_kind(names: Iterable[str], limit: int) -> set[str]:
    """The first ``limit`` of ``names`` with each suffix, and what lies beside them under the same stem (captions).

    Which suffixes count is the stage's affair, which takes ``limit`` of its own files: in a folder of PDFs and videos the
    first N names need not hold one video.

    Worked example: ``a.pdf b.pdf c.mp4 c.srt d.srt d.mp4`` at 1 gives ``a.pdf c.mp4 c.srt``."""
    paths = {name: PurePosixPath(name) for name in sorted(names)}
    seen: Counter[str] = Counter()
    stems = set()
    for path in paths.values():
        suffix = path.suffix.lower()
        seen[suffix] += 1
        if seen[suffix] <= limit:
            stems.add(path.with_suffix(""))
    return {name for name, path in paths.items() if path.with_suffix("") in stems}


def _walk(path: str) -> Iterator[tuple[str, str]]:
    """(relative posix name, absolute path) of every file under a folder, glob or file."""
    if os.path.isfile(path):
        yield os.path.basename(path), path
    elif os.path.isdir(path):
        for folder, folders, names in os.walk(path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                if not name.startswith("."):
                    file = os.path.join(folder, name)
                    yield os.path.relpath(file, path).replace(os.sep, "/"), file
    elif glob.has_magic(path):
        base = path[: path.index(next(c for c in path if c in "*?["))].rpartition("/")[0] or "/"
        for match in glob.iglob(path, recursive=True):
            if os.path.isfile(match):
                yield os.path.relpath(match, base).replace(os.sep, "/"), match


def _with_external_files(value: Any, locate: Callable[..., Path], origin: Origin, path: str = "") -> Any:
    if isinstance(value, ExternalFile):
        return value.model_copy(update={"path": str(locate(value, where=origin(path) or path))})
    if isinstance(value, Record):
        inside = f"{path}." if path else ""
        fields = {
            name: _with_external_files(getattr(value, name), locate, origin, inside + name)
            for name in type(value).model_fields
        }
        return value.model_copy(update=fields)
    if isinstance(value, tuple):
        return tuple(_with_external_files(item, locate, origin, path) for item in value)
    return value


@functools.cache
def engine_version(package: str) -> str:
    """The installed version of a package, ``absent`` when it is not installed (the step can be planned all the
    same)."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
