"""Pages of a file, whatever the file does: streams them from the sandbox and gives every page an answer."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.core.sandbox import FATAL, Sandbox, SandboxError
from pipelines.documents.engine import PageContent, PageFailure, Render

GIVE_UP_AFTER = 3  # pages of one file that killed the child, in a row


def read_file(
    box: Sandbox, engine: str, path: str, first: int, last: int, render: Render
) -> Iterator[PageContent | PageFailure]:
    """One answer for each page from ``first`` to ``last`` - 1, in order.

    A page that hangs, crashes or runs out of memory is tried once more, alone, with a longer deadline. After
    ``GIVE_UP_AFTER`` such pages in a row the rest of the range is written off with the same category.
    """
    page, killed = first, 0
    while page < last:
        try:
            for answer in box.stream("pages", engine, path, page, last, render):
                yield answer
                page, killed = page + 1, 0
            if page < last:
                raise SandboxError("parse", f"the engine stopped before page {page}")
            return
        except SandboxError as error:
            failure = error
        if failure.category not in FATAL:
            yield from (PageFailure(index, failure.category, failure.message) for index in range(page, last))
            return
        try:
            yield box.alone("pages", engine, path, page, page + 1, render)
            killed = 0
        except SandboxError as error:
            yield PageFailure(page, error.category, error.message)
            killed, failure = killed + 1, error
        page += 1
        if killed >= GIVE_UP_AFTER:
            message = f"given up after {killed} such pages in a row: {failure.message}"
            yield from (PageFailure(index, failure.category, message) for index in range(page, last))
            return
