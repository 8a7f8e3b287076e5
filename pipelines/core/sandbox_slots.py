"""Memory that the sandbox's child and its parent share, so that a page crosses without being copied through a pipe.

The parent makes a few anonymous files (sealed against shrinking, gone with the last process that maps them) and hands
them to the child. The child puts the arrays of an item into a free slot and sends only where they lie; the parent's
arrays look straight into the slot. A slot goes back when the item *after* it has been delivered and nothing looks into
it any more; if somebody still does (a consumer that collects items), the slot is his and is never written again, and
with fewer than two slots left the child sends everything through the pipe.

    child:  take a free slot, waiting for the parent's answer if there is none -> write -> send (slot, size, lengths)
    parent: before it asks for the next item, answers for every slot but the last delivered: free again, or kept
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import pickle
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

SLOTS = 3  # one being read, one ready, one being written
LEAST_BYTES = 64 << 10  # smaller items go through the pipe
MOST_BYTES = 256 << 20
ALIGN = 64
KEPT = 0x80  # flag of an answer: the slot is never free again


@dataclass(frozen=True)
class Place:
    """Where the buffers of an item lie: slot, bytes of its file, length of each buffer (``ALIGN`` apart)."""

    slot: int
    size: int
    lengths: tuple[int, ...]


def _ends(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """(start, stop) of each buffer.

    >>> _ends((10, 100, 1))
    [(0, 10), (64, 164), (192, 193)]
    """
    found, at = [], 0
    for length in lengths:
        found.append((at, at + length))
        at += -(-length // ALIGN) * ALIGN
    return found


class ParentSlots:
    """The parent's side: the files, and who looks into them."""

    def __init__(self) -> None:
        self.files = [os.memfd_create("sandbox", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING) for _ in range(SLOTS)]
        for file in self.files:
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self.answers, self._answer = os.pipe()
        self._maps: dict[int, mmap.mmap] = {}
        self._out: list[tuple[int, weakref.ref[Any]]] = []

    @property
    def descriptors(self) -> list[int]:
        """To be passed on to the child, and told on its command line."""
        return [self.answers, *self.files]

    def load(self, body: bytes | bytearray, place: Place) -> Any:
        """The item, its arrays looking into the slot. Raises ValueError for a place that cannot be."""
        spans = _ends(place.lengths)
        if not (0 <= place.slot < SLOTS and spans and spans[-1][1] <= place.size <= MOST_BYTES):
            raise ValueError(f"the child named an impossible place: {place}")
        if len(self._maps.get(place.slot, b"")) < place.size:
            self._maps[place.slot] = mmap.mmap(self.files[place.slot], place.size)
        shared = self._maps[place.slot]
        # A ctypes array lives exactly as long as something looks into it, and can be watched; a memoryview cannot.
        window = (ctypes.c_char * len(shared)).from_buffer(shared)
        self._out.append((place.slot, weakref.ref(window)))
        whole = memoryview(window).cast("B")
        return pickle.loads(body, buffers=[whole[start:stop] for start, stop in spans])

    def answer(self) -> None:
        """Tell the child about every slot but the last delivered."""
        waiting, self._out = self._out[:-1], self._out[-1:]
        for slot, window in waiting:
            kept = window() is not None
            if kept:
                del self._maps[slot]
            try:
                os.write(self._answer, bytes([slot | KEPT if kept else slot]))
            except OSError:
                return  # the child is gone; whoever reads from it finds out

    def close(self) -> None:
        for descriptor in (*self.files, self.answers, self._answer):
            os.close(descriptor)
        self.files = []


class ChildSlots:
    """The child's side, with the ``descriptors`` of ``ParentSlots``."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._answers, *self._files = descriptors
        self._free = list(range(len(self._files)))
        self._living = len(self._files)
        self._maps: dict[int, mmap.mmap] = {}

    def put(self, buffers: Sequence[pickle.PickleBuffer]) -> Place | None:
        """Write an item's buffers; None when they are too small or too large, or too few slots are left: then they go
        through the pipe. Waits while all slots are on their way. Raises OSError (no memory for the slot)."""
        views = [buffer.raw() for buffer in buffers]
        spans = _ends([view.nbytes for view in views])
        total = spans[-1][1] if spans else 0
        if not LEAST_BYTES <= total <= MOST_BYTES:
            return None
        while self._living >= 2 and not self._free:
            for answer in os.read(self._answers, 64) or os._exit(0):  # type: ignore[func-returns-value]
                if answer & KEPT:
                    self._living -= 1
                else:
                    self._free.append(answer)
        if self._living < 2:
            return None
        slot = self._free.pop(0)
        shared = self._map(slot, total)
        for view, (start, stop) in zip(views, spans, strict=True):
            shared[start:stop] = view
        return Place(slot, len(shared), tuple(view.nbytes for view in views))

    def _map(self, slot: int, size: int) -> mmap.mmap:
        if len(self._maps.get(slot, b"")) < size:
            room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            os.ftruncate(self._files[slot], room)
            self._maps[slot] = mmap.mmap(self._files[slot], room)
        return self._maps[slot]
