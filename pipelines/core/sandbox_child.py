"""The other end of ``sandbox.Sandbox``: limits itself, imports one function, answers calls until the pipe closes.

Started as ``python -m pipelines.core.sandbox_child package.module:function MEMORY_BYTES PARENT_PID SLOT...``. Standard
output is kept for the protocol; what libraries print there goes to standard error."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import inspect
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from pipelines.core.sandbox import END, ERROR, FATAL, HEADER, ITEM, LENGTH, READY, SandboxError, send
from pipelines.core.sandbox_slots import ChildSlots

PR_SET_PDEATHSIG = 1
WEIGHED = 8  # items of one call between two looks at the resident memory


def _die_with_parent(parent: int) -> None:
    """SIGKILL for us when the parent's thread that started us ends (Linux); also now, if it already has."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _limit(memory_bytes: int) -> None:
    """Address space, no core files, and first in line for the kernel's out-of-memory killer."""
    if memory_bytes > 0:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _resident() -> int:
    """Bytes of memory this process holds, 0 where that cannot be read."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        os._exit(0)  # the parent closed the pipe
    return data


def _next_call(stream: BinaryIO) -> tuple:
    _, count, _ = HEADER.unpack(_exactly(stream, HEADER.size))
    body = _exactly(stream, LENGTH.unpack(_exactly(stream, LENGTH.size))[0])
    buffers = [_exactly(stream, LENGTH.unpack(_exactly(stream, LENGTH.size))[0]) for _ in range(count)]
    return pickle.loads(body, buffers=buffers)


def _describe(error: BaseException) -> tuple[str, str, bool]:
    """(category, one-line message, may this child be used again)."""
    if isinstance(error, SandboxError):
        return error.category, error.message[:500], error.category not in FATAL
    if isinstance(error, MemoryError):
        return "oom", "out of the memory limit", False
    text = " ".join(str(error).split())[:500]
    return "parse", f"{type(error).__name__}: {text}", True


def _answer(function: Callable[..., Any], args: tuple, out: BinaryIO, slots: ChildSlots) -> None:
    try:
        value = function(*args)
        if inspect.isgenerator(value):
            for number, item in enumerate(value):
                if number % WEIGHED == 0:  # reading /proc costs as much as a small item
                    resident = _resident()
                send(out, ITEM, item, resident, slots)
        else:
            send(out, ITEM, value, _resident(), slots)
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:
        send(out, ERROR, _describe(error), _resident())
    else:
        send(out, END, None, _resident())


def main(target: str, memory_bytes: int, parent: int, *slots: int) -> None:
    """Serve calls of ``target`` for ever. Never returns: the process ends with its pipe or by a kill."""
    _die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    calls = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _limit(memory_bytes)
    module, _, name = target.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:
        send(out, ERROR, ("import", f"{target}: {type(error).__name__}: {error}"[:500], False))
        os._exit(1)
    send(out, READY, None, _resident())
    shared = ChildSlots(slots)
    while True:
        _answer(function, _next_call(calls), out, shared)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
