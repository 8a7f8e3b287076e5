"""A folder or file by path or URL. Local ones are plain ``pathlib`` paths; ``s3://bucket/prefix`` and every other scheme
fsspec knows are ``UPath`` objects with the same methods, so code above this module joins, lists and reads both alike.

What differs is here: how a name is taken once (``create_bytes``), how a closed file is copied up or down, and what an
unreachable store is called (an InfraError that says which store). Credentials and endpoints come from the environment
(``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID`` ...), never from a configuration.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipelines.core.errors import ConfigError, DataError, InfraError, first_line

if TYPE_CHECKING:
    from upath import UPath

INSTALLED = Path(__file__).resolve().parents[2]
"""Where the packages lie: files that ship with them (``conf/``, ``assets/``) are found from here."""

HOME = "COOKHOUSE_HOME"
"""Environment variable: where this machine keeps its notes and copies of remote stores; default
``~/.cache/cookhouse``."""


def place(text: str | os.PathLike[str]) -> Path:
    """A path for local text, a ``UPath`` (typed as Path: it has the methods) for a URL. Raises ConfigError for a scheme
    whose driver is not installed."""
    if not isinstance(text, str):
        return cast(Path, text)  # made here before
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Path(text)
    if scheme in ("file", "local"):
        return Path(rest)
    from upath import UPath

    options: dict[str, Any] = {"use_listings_cache": False} if scheme in ("s3", "s3a", "gs", "gcs") else {}
    try:
        made = UPath(text, protocol=None, **options)
        _ = made.fs
        return cast(Path, made)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"cannot reach {scheme}:// from here",
            where=text,
            why=str(error),
            do="pip install 'cookhouse[s3]'" if scheme in ("s3", "s3a") else f"install the fsspec driver of {scheme}",
        ) from error


def is_remote(path: Path) -> bool:
    """True for a path that is not on this machine's file system."""
    return hasattr(path, "fs")


def home() -> Path:
    """Where this machine keeps its notes and copies of remote stores, an absolute path."""
    given = os.environ.get(HOME) or os.path.join(os.path.expanduser("~"), ".cache", "cookhouse")
    return Path(os.path.abspath(given))


def home_of(root: Path) -> Path:
    """Where this machine keeps what belongs to a root but is its own business: the root itself when it is local, else a
    folder of its own under ``COOKHOUSE_HOME``."""
    if not is_remote(root):
        return root
    return home() / f"{root.name or 'root'}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"


def names(folder: Path) -> list[str]:
    """Names of what lies in a folder, sorted; empty when there is no such folder."""
    with reaching(folder):
        if not is_remote(folder):
            try:
                return sorted(os.listdir(folder))
            except (FileNotFoundError, NotADirectoryError):
                return []
        remote = cast("UPath", folder)
        try:
            found = remote.fs.ls(remote.path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in (item.rstrip("/").rpartition("/")[2] for item in found) if name)


def size(folder: Path) -> int:
    """Bytes of all files under a folder; 0 when there is none."""
    with reaching(folder):
        if is_remote(folder):
            remote = cast("UPath", folder)
            try:
                return int(remote.fs.du(remote.path))
            except FileNotFoundError:
                return 0
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def last_write(folder: Path) -> float:
    """When one of the files in a folder was last written (Unix seconds, the store's clock), 0.0 when there is none; one
    listing, no look at each file."""
    with reaching(folder):
        if not is_remote(folder):
            return max((path.stat().st_mtime for path in folder.glob("*")), default=0.0)
        remote = cast("UPath", folder)
        try:
            found = remote.fs.ls(remote.path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return 0.0
    return max((_seconds(_written(info)) for info in found), default=0.0)


def _written(info: dict[str, Any]) -> Any:
    """What a store says of the time of an object: a date, its text or Unix seconds; 0.0 of a folder."""
    return info.get("LastModified") or info.get("mtime") or info.get("updated") or info.get("created") or 0.0


def _seconds(when: Any) -> float:
    date = datetime.fromisoformat(when) if isinstance(when, str) else when
    return date.timestamp() if isinstance(date, datetime) else float(date)


def create_bytes(path: Path, data: bytes) -> bool:
    """Create a remote object that must not exist (conditional write); False when it does. ``data`` must be unique to
    the caller: a request whose answer was lost is sent again by the client, and finding our own bytes there means that we
    were first."""
    remote = cast("UPath", path)
    with reaching(path):
        try:
            remote.fs.pipe_file(remote.path, data, mode="create")
            return True
        except FileExistsError:
            pass
        except OSError:
            if not remote.exists():  # two conditional writes at once may both be told to try again
                raise
        return read_bytes(path) == data


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file or a remote object; it is there whole or not at all (without fsync)."""
    if is_remote(path):
        remote = cast("UPath", path)
        with reaching(path):
            remote.fs.pipe_file(remote.path, data)
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_bytes(path: Path) -> bytes | None:
    """The bytes of a file, None when it is missing."""
    with reaching(path):
        try:
            if is_remote(path):
                remote = cast("UPath", path)
                return bytes(remote.fs.cat_file(remote.path))
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits; a remote one is read as it streams by. Raises OSError."""
    with reaching(path), path.open("rb") as file:
        return hashlib.file_digest(cast(io.BufferedIOBase, file), "sha256").hexdigest()


def link(file: Path, target: Path) -> bool:
    """A local file under another name; False when it had to be copied (another disk, no right to link)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), target)
        return True
    except OSError:
        shutil.copy2(file, target)
        return False


def upload(local: Path, target: Path) -> None:
    """Copy a closed local file to a remote place."""
    remote = cast("UPath", target)
    with reaching(target):
        remote.fs.put_file(str(local), remote.path)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it; nothing there is fine."""
    with reaching(path):
        if is_remote(path):
            remote = cast("UPath", path)
            with contextlib.suppress(FileNotFoundError):
                remote.fs.rm(remote.path, recursive=True)
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def fetch(path: Path, target: Path, *, sha256: str = "") -> Path:
    """A local copy of a remote file at ``target``; an existing one is kept (it was moved there whole). With ``sha256``
    the copy is checked first. Raises DataError when the bytes are others, FileNotFoundError when there are none."""
    if target.is_file():
        return target
    remote = cast("UPath", path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with reaching(path):
            remote.fs.get_file(remote.path, str(draft))
        if sha256 and (actual := sha256_of(draft)) != sha256:
            raise DataError(
                "a file of the store is not what its manifest says",
                where=str(path),
                why=f"its sha256 is {actual[:12]}..., the manifest says {sha256[:12]}...",
                do="rebuild the step with --force, or restore the file",
            )
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def local_copy(path: Path) -> Path:
    """The file itself when it is local, else a copy under ``COOKHOUSE_HOME`` named by its URL and ETag, shared by all
    processes of this machine."""
    if not is_remote(path):
        return path
    remote = cast("UPath", path)
    with reaching(path):
        stamp = etag(remote.fs.info(remote.path))
    name = hashlib.sha256(f"{path}\n{stamp}".encode()).hexdigest()[:32]
    return fetch(path, home() / "copies" / name[:2] / name / path.name)


def etag(info: dict[str, Any]) -> str:
    """What a store says of the bytes of an object: its ETag, else size and time."""
    for name in ("ETag", "etag", "md5Hash", "content_md5"):
        if info.get(name):
            return str(info[name]).strip('"')
    return f"{info.get('size')}-{info.get('LastModified') or info.get('mtime') or info.get('created')}"


@contextlib.contextmanager
def reaching(path: Path) -> Iterator[None]:
    """Errors of a remote store as one InfraError; those that say something of the file itself pass through, and so does
    everything local."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, DataError, InfraError):
        raise
    except Exception as error:
        if not is_remote(path):
            raise
        raise InfraError(
            "the store does not answer as it should",
            where=str(path),
            why=f"{type(error).__name__}: {first_line(error)}",
            do="check the address and the credentials (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID ...), then run the same "
            "command again: finished units are kept",
        ) from error
