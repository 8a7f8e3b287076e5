"""OCR as Ray actors with resources of their own, so that a few large OCR processes (or GPUs) serve many page workers.

A page worker sends the *address* of a page, the actor renders it again (some ten milliseconds against seconds of OCR)
and sends lines back: no picture ever lies in Ray's object store."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipelines.core.sandbox import SandboxError
from pipelines.core.sandboxes import kept_sandbox
from pipelines.core.storage import local_file
from pipelines.documents.config import DocumentSettings

if TYPE_CHECKING:
    import numpy as np

    from pipelines.documents.ocr_reader import OcrLines, OcrSetup, Task
    from pipelines.documents.scan import PageRef


class OcrWorker:
    """The actor: one page sandbox, one OCR sandbox."""

    def __init__(self, settings: DocumentSettings) -> None:
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

    def __init__(self, actors: list[Any]) -> None:
        self.actors = actors
        self._calls = 0

    def __call__(
        self, page: PageRef, image: np.ndarray, setup: OcrSetup, task: Task, quads: np.ndarray | None
    ) -> OcrLines:
        """Run a task in one actor. Raises SandboxError, also (category ``crash``) when the actor is gone for good."""
        import ray

        self._calls += 1
        actor = self.actors[(os.getpid() + self._calls) % len(self.actors)]
        try:
            return ray.get(actor.read.remote(page, setup, task, quads))
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, SandboxError) else error from None
        except ray.exceptions.RayActorError as error:
            raise SandboxError("crash", "the OCR actor died again and again") from error


@contextmanager
def ocr_pool(settings: DocumentSettings) -> Iterator[OcrPool | None]:
    """The pool the settings ask for, None when there is none or no Ray."""
    ray = sys.modules.get("ray")
    if not settings.ocr or not settings.ocr_actors or ray is None or not ray.is_initialized():
        yield None
        return
    kind = ray.remote(OcrWorker).options(
        num_cpus=settings.ocr_cpus, num_gpus=settings.ocr_gpus, max_restarts=3, max_task_retries=3
    )
    actors = [kind.remote(settings) for _ in range(settings.ocr_actors)]
    try:
        yield OcrPool(actors)
    finally:
        for actor in actors:
            ray.kill(actor)
