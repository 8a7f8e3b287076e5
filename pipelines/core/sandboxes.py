"""Sandboxes that a worker process keeps from unit to unit: starting a child and its imports costs half a CPU second."""

from __future__ import annotations

import atexit

from pipelines.core.sandbox import RECYCLE_ITEMS, Sandbox

_kept: dict[tuple[str, float, int], Sandbox] = {}


def kept_sandbox(target: str, deadline_s: float, memory_bytes: int, recycle_items: int = RECYCLE_ITEMS) -> Sandbox:
    """The child of this process for a target, started when first used and anew after ``recycle_items`` calls; it ends
    with the process, or with ``close_sandboxes``."""
    key = (target, deadline_s, memory_bytes)
    if key not in _kept:
        if not _kept:
            atexit.register(close_sandboxes)
        _kept[key] = Sandbox(target, deadline_s, memory_bytes, recycle_items=recycle_items)
    return _kept[key]


def close_sandboxes() -> None:
    """Kill the kept children of this process."""
    for box in _kept.values():
        box.close()
    _kept.clear()
