"""What runs in the sandbox: open one file, count its pages, or render a range of them one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from pipelines.core.sandbox import SandboxError
from pipelines.documents.engine import Document, PageContent, PageFailure, Render, load_engine

CHILD = "pipelines.documents.extract:answer"
"""Target of the one sandbox that a worker keeps for everything it asks of documents."""

Task = Literal["count", "texts", "pages"]


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


TASKS: dict[Task, Callable[..., Any]] = {"count": count_pages, "texts": read_texts, "pages": read_pages}


def answer(task: Task, *args: Any) -> Any:
    return TASKS[task](*args)
