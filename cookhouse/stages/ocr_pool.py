"""OCR in processes with resources of their own, so that a few large ones (or GPUs) serve many page workers.

A page worker sends the *address* of a page, the actor renders it again (some ten milliseconds against seconds of OCR)
and sends lines back: no picture travels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.core.errors import InfraError
from pipelines.core.executor import Actor, Executor
from pipelines.core.sandbox import SandboxError, kept_sandbox
from pipelines.core.storage import local_file
from pipelines.documents.config import DocumentShards

if TYPE_CHECKING:
    import numpy as np

    from pipelines.documents.ocr_reader import OcrLines, OcrSetup, Task
    from pipelines.documents.scan import PageRef


class OcrWorker:
    """The actor: one page sandbox, one OCR sandbox."""

    def __init__(self, settings: DocumentShards) -> None:
        self.settings = settings

    def read(self, page: PageRef, setup: OcrSetup, task: Task, quads: np.ndarray | None) -> OcrLines:
        """Render the page and run the task. Raises SandboxError."""
        from pipelines.documents.build import read_here
        from pipelines.documents.engine import PageFailure
        from pipelines.documents.extract import CHILD

        box = kept_sandbox(CHILD, self.settings.page_deadline_s, self.settings.memory_bytes)
        content = box.call("pages", page.engine, str(local_file(page.address)), page.index, page.index + 1, page.render)
        if isinstance(content, PageFailure):
            raise SandboxError(content.category, content.message)
        return read_here(self.settings)(page, content.image, setup, task, quads)


class OcrPool:
    """An ``OcrReader`` over actors. Which actor reads a page changes nothing but the time."""

    def __init__(self, actors: Sequence[Actor]) -> None:
        self.actors = actors
        self._calls = 0

    def __call__(
        self, page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads: np.ndarray | None
    ) -> OcrLines:
        """Run a task in one actor. Raises SandboxError, also (category ``crash``) when the actor is gone for good."""
        self._calls += 1
        actor = self.actors[(os.getpid() + self._calls) % len(self.actors)]
        try:
            return actor.call("read", page, setup, task, quads)  # type: ignore[no-any-return]
        except InfraError as error:
            raise SandboxError("crash", "the OCR actor died again and again") from error


@contextmanager
def ocr_pool(settings: DocumentShards, executor: Executor) -> Iterator[OcrPool | None]:
    """The pool the settings ask for; None where there is none, or nobody to share it with: all work is done here."""
    if not settings.ocr or not settings.ocr_actors or not executor.distributed:
        yield None
        return
    with executor.actors(OcrWorker, (settings,), settings.ocr_actors, settings.ocr_actor) as actors:
        yield OcrPool(actors)
