"""Which process is it? A pid alone is reused by the system; a pid with its start time is not."""

from __future__ import annotations

import os
import socket
from typing import Any


def start_time(pid: int) -> str | None:
    """When a process started, as an opaque string, or None when there is no such process (a zombie counts as none)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else fields[19]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def identity(pid: int | None = None) -> dict[str, Any]:
    """``{host, pid, start}`` of a process (default: this one), enough to recognise it later."""
    pid = pid or os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "start": start_time(pid)}


def is_alive(who: dict[str, Any]) -> bool | None:
    """Whether the process of :func:`identity` runs; None when it lives on another host and cannot be asked."""
    if who["host"] != socket.gethostname():
        return None
    return who["start"] is not None and start_time(int(who["pid"])) == who["start"]
