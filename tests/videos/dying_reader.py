"""Reads clips like ``pipelines.media.video``, but the process dies behind the first clip of a file."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from pipelines.media.video import DecodeSpec, Frames, read_clips


def always(path: str, spec: DecodeSpec) -> Iterator[Frames]:
    for number, clip in enumerate(read_clips(path, spec)):
        if number == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        yield clip


def once(path: str, spec: DecodeSpec) -> Iterator[Frames]:
    mark = Path(os.environ["DYING_READER"])
    for number, clip in enumerate(read_clips(path, spec)):
        if number == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        yield clip
