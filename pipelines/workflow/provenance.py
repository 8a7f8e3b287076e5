"""Who made a result, where and with which code, told by the process that does the work. Never in a key or a digest."""

from __future__ import annotations

import functools
import getpass
import hashlib
import os
import platform
import socket
import subprocess
from pathlib import Path
from typing import Any

from pipelines.core.storage import INSTALLED
from pipelines.workflow.probe import engine_version

IMAGE = "COOKHOUSE_IMAGE"
"""Environment variable: the container image the code runs in; its Dockerfile sets it."""
PACKAGES = ("torch", "ray", "deepspeed", "numpy", "pillow", "pypdfium2", "pymupdf", "av", "rapidocr", "mlflow")
"""Installed packages whose versions are worth knowing when figures differ."""


def provenance() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        user = str(os.getuid())
    who = {"host": socket.gethostname(), "user": user, "pid": os.getpid(), "python": platform.python_version()}
    return {**who, **code_identity(INSTALLED)}


@functools.cache
def code_identity(folder: Path) -> dict[str, Any]:
    """``version``, versions of ``packages``, ``image`` where there is one; of a git working copy its ``commit``, and where
    it differs from that, ``dirty``: 12 hex digits of what differs, new Python files among it."""
    versions = {name: engine_version(name) for name in PACKAGES}
    code: dict[str, Any] = {"version": engine_version("cookhouse")}
    code["packages"] = {name: version for name, version in versions.items() if version != "absent"}
    if image := os.environ.get(IMAGE):
        code["image"] = image
    if not (folder / ".git").exists():
        return code
    try:
        code["commit"] = _git(folder, "rev-parse", "HEAD").decode().strip()
        new = _git(folder, "ls-files", "-z", "--others", "--exclude-standard", "--", "*.py").split(b"\0")[:-1]
        changes = _git(folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-color")
        changes += b"".join(name + (folder / os.fsdecode(name)).read_bytes() for name in new)
    except (OSError, subprocess.SubprocessError):  # no git here, or a working copy it does not trust
        return code
    return {**code, "dirty": hashlib.sha256(changes).hexdigest()[:12]} if changes else code


def _git(folder: Path, *arguments: str) -> bytes:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, timeout=10, check=True).stdout
