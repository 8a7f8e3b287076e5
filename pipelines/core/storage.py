"""Storage: create once, put, get, list, delete. The only module that knows URLs.

A *place* names a file or folder: a plain ``pathlib.Path`` on this machine, or a ``Remote`` (``s3://bucket/prefix`` and
every other scheme fsspec knows). Both join with ``/`` and know ``name`` and ``parent``; what is done with them is done by
the functions here. Whatever works on files works in a local folder, and closed files are carried up and down whole.

Credentials and endpoints come from the environment (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID`` ...), never from a
configuration. A store that cannot be reached is one InfraError that says which.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pipelines.core.errors import ConfigError, DataError, InfraError, first_line

Answer = TypeVar("Answer")

INSTALLED = Path(__file__).resolve().parents[2]
"""Where the packages lie: files that ship with them (``conf/``, ``assets/``) are found from here."""

HOME = "COOKHOUSE_HOME"
"""Environment variable: where this machine keeps its notes and copies of remote stores; default
``~/.cache/cookhouse``."""


@dataclass(frozen=True)
class Remote:
    """A name in a store that is not on this machine's file system."""

    url: str

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.url}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        return Remote(self.url.rpartition("/")[0])


Place = Path | Remote


@dataclass(frozen=True)
class About:
    """A file as its store describes it: bytes, when it was written (Unix seconds, the store's clock) and a stamp that
    changes with its bytes."""

    size: int
    written: float
    stamp: str


def is_url(text: str) -> bool:
    return "://" in text


def place(text: str | os.PathLike[str] | Remote) -> Place:
    """The place a text names. Raises ConfigError for a scheme whose driver is not installed."""
    if isinstance(text, Remote):
        return text
    scheme, separator, rest = os.fspath(text).partition("://")
    if not separator or scheme in ("file", "local"):
        return Path(rest if separator else text)
    remote = Remote(os.fspath(text).rstrip("/"))
    _system(remote)
    return remote


def home() -> Path:
    """Where this machine keeps its notes and copies of remote stores, an absolute path."""
    given = os.environ.get(HOME) or os.path.join(os.path.expanduser("~"), ".cache", "cookhouse")
    return Path(os.path.abspath(given))


def home_of(root: Place) -> Path:
    """Where this machine keeps what belongs to a root but is its own business: the root itself when it is local, else a
    folder of its own under ``COOKHOUSE_HOME``."""
    if isinstance(root, Path):
        return root
    return home() / f"{root.name or 'root'}-{hashlib.sha256(root.url.encode()).hexdigest()[:8]}"


def names(folder: Place) -> list[str]:
    """Names of what lies in a folder, sorted; empty when there is no such folder."""
    try:
        if isinstance(folder, Path):
            return sorted(os.listdir(folder))
        found = _ask(folder, lambda system, path: system.ls(path, detail=False))
        return sorted(filter(None, (item.rstrip("/").rpartition("/")[2] for item in found)))
    except (FileNotFoundError, NotADirectoryError):
        return []


def files(folder: Place) -> dict[str, About]:
    """Every file under a folder, however deep, by its relative name; empty when there is none."""
    if isinstance(folder, Path):
        found = {}
        for top, _, inside in os.walk(folder):
            for path in (Path(top, name) for name in inside):
                with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                    found[path.relative_to(folder).as_posix()] = about(path)
        return found
    infos, prefix = _ask(folder, lambda system, path: (system.find(path, detail=True), f"{path}/"))
    return {key.removeprefix(prefix): _about(info) for key, info in infos.items() if key.startswith(prefix)}


def search(text: str) -> Iterator[tuple[str, str, About]]:
    """(name, URL, about) of every object under a remote prefix or matching a glob, but hidden ones; the name is relative to
    the prefix, or to the last folder before the first wildcard."""
    scheme, _, pattern = text.partition("://")
    magic = next((index for index, letter in enumerate(text) if letter in "*?["), None)
    base = place(text if magic is None else text[:magic].rpartition("/")[0])
    assert isinstance(base, Remote), "a local folder is walked, not searched"
    if magic is None:
        found = _ask(base, lambda system, path: system.find(path, detail=True))
    else:
        found = _ask(base, lambda system, path: system.glob(pattern, detail=True))
    top = base.url.removeprefix(f"{scheme}://") + "/"
    for key, info in found.items():
        name = key.removeprefix(top) if key.startswith(top) else key.rpartition("/")[2]
        if info.get("type") == "file" and not any(part.startswith(".") for part in name.split("/")):
            yield name, f"{scheme}://{key}", _about(info)


def last_write(folder: Place) -> float:
    """When one of the files under a folder was last written, 0.0 when there is none; one listing, no look at each."""
    return max((file.written for file in files(folder).values()), default=0.0)


def about(file: Place) -> About:
    """Raises FileNotFoundError."""
    if isinstance(file, Path):
        status = file.stat()
        return About(status.st_size, status.st_mtime, f"{status.st_size}-{status.st_mtime_ns}")
    return _about(_ask(file, lambda system, path: system.info(path)))


def exists(file: Place) -> bool:
    return file.exists() if isinstance(file, Path) else _ask(file, lambda system, path: bool(system.exists(path)))


def create(file: Place, data: bytes) -> bool:
    """Create a file that must not exist; False when another was first. Readers never see half of it: it is written under
    a temporary name and *linked* to its own, which fails if the name is taken; a remote store is asked for a conditional
    write. ``data`` must be unique to the caller: a request whose answer was lost is sent again by the client, and finding
    our own bytes there means that we were first."""
    if isinstance(file, Path):
        try:
            with _draft(file) as draft:
                _write(draft, data, durable=True)
                os.link(draft, file)
        except FileExistsError:
            return False
        sync_folder(file.parent)
        return True
    try:
        _ask(file, lambda system, path: system.pipe_file(path, data, mode="create"))
        return True
    except FileExistsError:
        pass
    except InfraError as error:  # two conditional writes at once may both be told to try again
        if not isinstance(error.__cause__, OSError) or not exists(file):
            raise
    return get(file) == data


def put(file: Place, data: bytes, *, durable: bool = False) -> None:
    """Replace a file; it is there whole or not at all. ``durable``: a local one survives a power cut, too."""
    if isinstance(file, Remote):
        _ask(file, lambda system, path: system.pipe_file(path, data))
        return
    with _draft(file) as draft:
        _write(draft, data, durable=durable)
        os.replace(draft, file)
    if durable:
        sync_folder(file.parent)


def get(file: Place, start: int | None = None, end: int | None = None) -> bytes | None:
    """The bytes of a file, or those from ``start`` to before ``end``; None when it is missing."""
    try:
        if isinstance(file, Remote):
            return bytes(_ask(file, lambda system, path: system.cat_file(path, start=start, end=end)))
        with file.open("rb") as handle:
            handle.seek(start or 0)
            return handle.read(-1 if end is None else end - (start or 0))
    except (FileNotFoundError, NotADirectoryError):
        return None


def delete(target: Place) -> None:
    """Remove a file or a folder with all that is in it; nothing there is fine."""
    if isinstance(target, Remote):
        with contextlib.suppress(FileNotFoundError):
            _ask(target, lambda system, path: system.rm(path, recursive=True))
    elif target.is_dir():
        shutil.rmtree(target, ignore_errors=True)
    else:
        target.unlink(missing_ok=True)


def upload(file: Path, target: Place) -> None:
    """Carry a closed local file to its place; nothing to do where it lies there already."""
    if isinstance(target, Remote):
        _ask(target, lambda system, path: system.put_file(str(file), path))


def download(file: Remote, target: Path, *, sha256: str = "") -> Path:
    """A local copy at ``target``; an existing one is kept (it was moved there whole). With ``sha256`` the copy is checked
    first. Raises DataError when the bytes are others, FileNotFoundError when there are none."""
    if target.is_file():
        return target
    with _draft(target) as draft:
        _ask(file, lambda system, path: system.get_file(path, str(draft)))
        if sha256 and (actual := sha256_of(draft)) != sha256:
            why = f"its sha256 is {actual[:12]}..., the manifest says {sha256[:12]}..."
            what = "a file of the store is not what its manifest says"
            raise DataError(what, where=str(file), why=why, do="rebuild the step with --force, or restore it")
        os.replace(draft, target)
    return target


def local_file(file: Place | str) -> Path:
    """The file itself when it is local, else a copy under ``COOKHOUSE_HOME`` named by its URL and stamp, shared by all
    processes of this machine. Raises FileNotFoundError."""
    found = place(file)
    if isinstance(found, Path):
        return found
    name = hashlib.sha256(f"{found}\n{about(found).stamp}".encode()).hexdigest()[:32]
    return download(found, home() / "copies" / name[:2] / name / found.name)


def sha256_of(path: Path) -> str:
    """sha256 of a local file's bytes, 64 hex digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(draft: Path, data: bytes, *, durable: bool) -> None:
    with draft.open("xb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder, which is made, for the time of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """fsync of a directory, so that a new name in it survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _about(info: dict[str, Any]) -> About:
    """What a store says of an object: its ETag stands for its bytes, else size and time."""
    mark = next((info[name] for name in ("ETag", "etag", "md5Hash", "content_md5") if info.get(name)), None)
    when = info.get("LastModified") or info.get("mtime") or info.get("updated") or info.get("created") or 0.0
    date = datetime.fromisoformat(when) if isinstance(when, str) else when
    written = date.timestamp() if isinstance(date, datetime) else float(date)
    told = info.get("LastModified") or info.get("mtime") or info.get("created")
    return About(int(info.get("size") or 0), written, str(mark).strip('"') if mark else f"{info.get('size')}-{told}")


def _system(remote: Remote) -> Any:
    """The fsspec file system of a place, one for each process and scheme. Raises ConfigError."""
    from fsspec import filesystem  # 40 ms that local stores do without

    scheme = remote.url.partition("://")[0]
    options = {"use_listings_cache": False} if scheme in ("s3", "s3a", "gs", "gcs") else {}
    try:
        return filesystem(scheme, **options)
    except (ImportError, ValueError) as error:
        do = "pip install 'cookhouse[s3]'" if scheme in ("s3", "s3a") else f"install the fsspec driver of {scheme}"
        raise ConfigError(f"cannot reach {scheme}:// from here", where=remote.url, why=str(error), do=do) from error


def _ask(remote: Remote, question: Callable[[Any, str], Answer]) -> Answer:
    """``question(file system, path)``. Errors that say something of the file pass through; every other is an
    InfraError."""
    system = _system(remote)
    path = str(system._strip_protocol(remote.url))
    try:
        return question(system, path)
    except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {first_line(error)}"
        do = "check the address and the credentials (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID ...), then run the same command "
        do += "again: finished units are kept"
        raise InfraError("the store does not answer as it should", where=remote.url, why=why, do=do) from error
