"""A reader for the sandbox that misbehaves on chosen pages: 1 hangs, 3 crashes, 5 asks for all memory, 6 raises."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from pipelines.documents import extract
from pipelines.documents.engine import PageContent, PageFailure, Render


def answer(
    task: extract.Task, engine: str, path: str, first: int, last: int, render: Render
) -> Iterator[PageContent | PageFailure]:
    for page in range(first, last):
        if page == 1:
            time.sleep(600)
        if page == 3:
            os.kill(os.getpid(), signal.SIGSEGV)
        if page == 5:
            bytearray(1 << 40)
        if page == 6:
            yield PageFailure(page, "render", "made to fail")
            continue
        yield from extract.answer(task, engine, path, page, page + 1, render)
