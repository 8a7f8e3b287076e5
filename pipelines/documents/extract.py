"""A file in the sandbox: open it, count its pages, or render a range of them one by one; and (``read_file``) what asks for
the pages and gives every one an answer, whatever the file does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pipelines.core.sandbox import FATAL, Sandbox, SandboxError
from pipelines.documents.engine import Document, PageContent, PageFailure, Render, load_engine

CHILD = "pipelines.documents.extract:answer"
"""Target of the one sandbox that a worker keeps for everything it asks of documents."""

GIVE_UP_AFTER = 3  # pages of one file that killed the child, in a row


@contextmanager
def _opened(engine: str, path: str) -> Iterator[Document]:
    """Open, with messages that name no folder of this machine: they end in the manifest."""
    try:
        document = load_engine(engine)(Path(path))
    except SandboxError:
        raise
    except Exception as error:
        raise SandboxError("parse", f"{type(error).__name__}: {_told(error, path)}") from error
    with closing(document):
        yield document


def _told(error: Exception, path: str) -> str:
    return " ".join(str(error).replace(path, Path(path).name).split())[:300]


def count_pages(engine: str, path: str) -> int:
    """Pages of a file. Raises SandboxError: ``encrypted``, ``parse``, ``empty`` (no pages)."""
    with _opened(engine, path) as document:
        pages = document.pages
    if pages < 1:
        raise SandboxError("empty", "the file has no pages")
    return pages


def read_texts(engine: str, path: str, last: int) -> Iterator[str]:
    """Text layers of pages 0 to ``last`` - 1, one by one, "" for a page that raises."""
    with _opened(engine, path) as document:
        for index in range(last):
            try:
                yield document.text(index)
            except MemoryError:
                raise
            except Exception:
                yield ""


def read_pages(engine: str, path: str, first: int, last: int, render: Render) -> Iterator[PageContent | PageFailure]:
    """Pages ``first`` to ``last`` - 1 of a file in order; see ``pages_of``."""
    with _opened(engine, path) as document:
        yield from pages_of(document, path, first, last, render)


def pages_of(
    document: Document, path: str, first: int, last: int, render: Render
) -> Iterator[PageContent | PageFailure]:
    """A page that raises, or has no pixels, becomes a PageFailure and the next one is read. Lack of memory ends the call
    (category ``oom``), because the process is not to be trusted after it."""
    for index in range(first, last):
        try:
            content = document.page(index, render)
        except MemoryError:
            raise
        except Exception as error:
            text = _told(error, path)
            if "malloc" in text or "memory" in text.lower():
                raise SandboxError("oom", text) from error
            yield PageFailure(index, "render", f"{type(error).__name__}: {text}")
            continue
        if content.image.size:
            yield content
        else:
            width, height = content.points
            yield PageFailure(index, "render", f"a page of {width:.4g} x {height:.4g} points has no pixels")


TASKS: dict[str, Callable[..., Any]] = {"count": count_pages, "texts": read_texts, "pages": read_pages}


def answer(task: str, *args: Any) -> Any:
    return TASKS[task](*args)


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
            for content in box.stream("pages", engine, path, page, last, render):
                yield content
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
