"""A long-lived child process for calls that may hang, crash or eat the memory of the machine.

MuPDF and FFmpeg parse hostile bytes in C while holding the interpreter lock: only a killed process ends a hang. So the
worker keeps one *spawned* child (never a fork of a Ray worker) from unit to unit, sends it calls over pipes and kills it
when an item passes its deadline. A failed item is tried once more, alone, in a fresh child with a longer deadline. The
child is replaced after a number of items or when it has grown, and it dies with its parent.

A deadline counts wall time, but while the child has used less CPU time than that (the machine is loaded) it is given
up to ``STARVED`` times as long: a slow neighbour must not decide which inputs end in quarantine.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO, Any

from pipelines.core.sandbox_slots import ChildSlots, ParentSlots
from pipelines.core.storage import INSTALLED

HEADER = struct.Struct("<cIQ")  # kind, number of out-of-band buffers, resident bytes of the sender
LENGTH = struct.Struct("<Q")
READY, ITEM, END, ERROR, CALL = b"R", b"I", b"E", b"X", b"C"
SHARED = b"S"  # an item whose buffers lie in a slot
STARVED = 5.0
GLANCE_S = 0.05
FATAL = ("timeout", "crash", "oom")  # categories that cost the child and earn a second try
START_S = 120.0  # import of the target's module
RETRY_FACTOR = 3.0  # of the deadline, for the second try
RECYCLE_ITEMS, RECYCLE_BYTES = 20_000, 512 << 20  # served and grown by, a child is started anew: libraries leak
MAX_MESSAGE = 4 << 30
PIPE_BYTES = 1 << 20


class SandboxError(Exception):
    """The item failed cleanly. ``category`` is one word (``parse``, ``encrypted``, ``oom`` ...) for the manifest."""

    def __init__(self, category: str, message: str) -> None:
        super().__init__(category, message)
        self.category, self.message = category, message

    def __str__(self) -> str:
        return f"{self.category}: {self.message}"


class SandboxTimeout(SandboxError):
    """The item passed its deadline and the child was killed."""


class SandboxCrash(SandboxError):
    """The child died; category ``crash``, or ``oom`` when the memory limit or the kernel's killer ended it."""


def send(stream: IO[bytes], kind: bytes, value: Any, resident: int = 0, slots: ChildSlots | None = None) -> None:
    """One message: header, length-prefixed pickle (protocol 5), then its buffers, so arrays are not copied. With
    ``slots`` large buffers go into shared memory, and where they lie is told instead."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    if slots is not None and (place := slots.put(buffers)) is not None:
        kind, buffers = SHARED, [pickle.PickleBuffer(pickle.dumps(place))]
    stream.write(HEADER.pack(kind, len(buffers), resident) + LENGTH.pack(len(body)) + body)
    for buffer in buffers:
        with buffer.raw() as raw:
            stream.write(LENGTH.pack(raw.nbytes))
            stream.write(raw)
    stream.flush()


class Sandbox:
    """One child running ``target`` (``"package.module:function"``), started on the first call.

    ``target`` returns a value, or yields values when called through ``stream``; it may raise ``SandboxError`` with a
    category of its own; any other exception becomes category ``parse``, ``MemoryError`` becomes ``oom``.
    """

    def __init__(
        self, target: str, deadline_s: float, memory_bytes: int, *, recycle_items: int = RECYCLE_ITEMS
    ) -> None:
        self.target, self.deadline_s, self.memory_bytes = target, deadline_s, memory_bytes
        self.recycle_items = recycle_items
        self.starts = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._slots: ParentSlots | None = None
        self._items = 0
        self._base_resident = 0
        self._resident = 0

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the living child, None before the first call and after a failure."""
        return self._child.pid if self._child is not None else None

    def call(self, *args: Any, deadline_s: float | None = None) -> Any:
        """The value of ``target(*args)`` (the last item if it yields). A timeout, crash or lack of memory is tried
        once more in a fresh child with ``RETRY_FACTOR`` times the deadline. Raises SandboxTimeout, SandboxCrash,
        SandboxError."""
        try:
            return self._last(args, deadline_s or self.deadline_s)
        except SandboxError as error:
            if error.category not in FATAL:
                raise
        return self.alone(*args, deadline_s=deadline_s)

    def alone(self, *args: Any, deadline_s: float | None = None) -> Any:
        """As ``call``, but at once in a fresh child with the longer deadline and without another try: the second chance
        of an item that failed in a ``stream``."""
        self.close()
        return self._last(args, (deadline_s or self.deadline_s) * RETRY_FACTOR)

    def stream(self, *args: Any) -> Iterator[Any]:
        """The items that ``target(*args)`` yields, each within the deadline; no retry (the caller knows which item
        failed and may ``call`` for it alone). Raises as ``call``. Leaving the iterator early ends the child."""
        yield from self._run(args, self.deadline_s)

    def close(self) -> None:
        """Kill the child if there is one; the next call starts a fresh one."""
        child, self._child = self._child, None
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.close()
        if child is not None:
            child.kill()
            for pipe in filter(None, (child.stdin, child.stdout)):
                with contextlib.suppress(OSError):
                    pipe.close()
            child.wait()

    def _last(self, args: tuple, deadline: float) -> Any:
        value = None
        for item in self._run(args, deadline):
            value = item
        return value

    def _run(self, args: tuple, deadline: float) -> Iterator[Any]:
        grown = self._resident - self._base_resident
        if self._child is not None and (self._items >= self.recycle_items or grown > RECYCLE_BYTES):
            self.close()
        child = self._start()
        done = False
        assert child.stdin is not None
        try:
            try:
                send(child.stdin, CALL, args)
            except OSError as error:
                raise self._died(child) from error
            while True:
                kind, value = self._receive(child, deadline)
                if kind == END:
                    done = True
                    return
                if kind == ERROR:
                    category, message, keep = value
                    done = keep
                    raise SandboxError(category, message)
                self._items += 1
                if self._items == 1:  # what the first item loads (models, fonts) is no leak
                    self._base_resident = self._resident
                yield value
        finally:
            if not done:
                self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(INSTALLED), os.environ.get("PYTHONPATH")])),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
            # A page's pixels from memory used before, instead of pages fresh from the kernel each time: the child is
            # replaced when it grows.
            "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
            "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
        }
        self._slots = ParentSlots()
        numbers = map(str, (self.memory_bytes, os.getpid(), *self._slots.descriptors))
        command = [sys.executable, "-P", "-m", "pipelines.core.sandbox_child", self.target, *numbers]
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            bufsize=0,
            pass_fds=self._slots.descriptors,
        )
        assert child.stdout is not None
        with contextlib.suppress(OSError, AttributeError):  # Linux; a page in one read instead of fifty
            fcntl.fcntl(child.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._child, self._items = child, 0
        self.starts += 1
        try:
            kind, value = self._receive(child, START_S)
            if kind == ERROR:
                raise SandboxError(value[0], value[1])
        except SandboxError:
            self.close()
            raise
        self._base_resident = self._resident
        return child

    def _receive(self, child: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, Any]:
        assert self._slots is not None
        self._slots.answer()
        clock = _Deadline(child.pid, deadline)
        kind, count, self._resident = HEADER.unpack(self._read(child, HEADER.size, clock))
        body = self._block(child, clock)
        buffers = [self._block(child, clock) for _ in range(count)]
        if kind == SHARED:
            return ITEM, self._slots.load(body, pickle.loads(buffers[0]))
        return kind, pickle.loads(body, buffers=buffers)

    def _block(self, child: subprocess.Popen[bytes], clock: _Deadline) -> bytearray:
        (length,) = LENGTH.unpack(self._read(child, LENGTH.size, clock))
        if length > MAX_MESSAGE:
            raise SandboxCrash("crash", f"message of {length} bytes is over the limit of {MAX_MESSAGE}")
        return self._read(child, length, clock)

    def _read(self, child: subprocess.Popen[bytes], length: int, clock: _Deadline) -> bytearray:
        assert child.stdout is not None
        descriptor = child.stdout.fileno()
        data = bytearray(length)
        view, filled = memoryview(data), 0
        while filled < length:
            if not select.select([descriptor], [], [], clock.wait())[0]:
                if clock.expired():
                    raise SandboxTimeout("timeout", f"no result within {clock.limit:g} s")
                continue
            got = os.readv(descriptor, [view[filled:]])
            if got == 0:
                raise self._died(child)
            filled += got
        return data

    def _died(self, child: subprocess.Popen[bytes]) -> SandboxCrash:
        try:
            code = child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return SandboxCrash("crash", "the child closed its pipe")
        if code == -signal.SIGKILL:
            return SandboxCrash("oom", "the child was killed by the kernel (out of memory)")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return SandboxCrash("crash", f"the child ended with {name}")


class _Deadline:
    """Wall-clock limit that waits on while the child was starved of CPU (see the module docstring). What comes within
    ``GLANCE_S`` costs no look at the child's CPU time."""

    def __init__(self, pid: int, limit: float) -> None:
        self.pid, self.limit = pid, limit
        self.start = time.monotonic()
        self.cpu: float | None = None

    def wait(self) -> float:
        left = self.limit - (time.monotonic() - self.start)
        if self.cpu is None:
            return max(0.0, min(GLANCE_S, left))
        return left if left > 0 else min(1.0, self.limit)

    def expired(self) -> bool:
        """Asked after a wait in which nothing came."""
        if self.cpu is None:
            self.cpu = _cpu_seconds(self.pid)
        elapsed = time.monotonic() - self.start
        if elapsed < self.limit:
            return False
        used = _cpu_seconds(self.pid) - self.cpu
        idle = used < 0.02 * elapsed  # blocked for ever, not starved
        return idle or used >= self.limit - GLANCE_S or elapsed >= STARVED * self.limit


def _cpu_seconds(pid: int) -> float:
    """User + system CPU time of a process in seconds, infinity where it cannot be read."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


_kept: dict[tuple[str, float, int], Sandbox] = {}


def kept_sandbox(target: str, deadline_s: float, memory_bytes: int, recycle_items: int = RECYCLE_ITEMS) -> Sandbox:
    """The child of this process for a target; it ends with the process, or with ``close_sandboxes``."""
    key = (target, deadline_s, memory_bytes)
    if key not in _kept:
        _kept[key] = Sandbox(*key, recycle_items=recycle_items)
    return _kept[key]


@atexit.register
def close_sandboxes() -> None:
    for box in _kept.values():
        box.close()
    _kept.clear()
