"""Small PDFs made in the tests, and a way to read a page without the sandbox."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest

from pipelines.core.sandbox import close_sandboxes
from pipelines.documents.engine import ENGINES, Document, PageContent, Render, load_engine

sys.path.insert(0, str(Path(__file__).parent))  # helper modules beside the tests

SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank today"


@pytest.fixture(scope="session", autouse=True)
def no_children_left() -> Iterator[None]:
    yield
    close_sandboxes()


@pytest.fixture
def make_pdf(tmp_path: Path) -> Callable[..., Path]:
    """``make_pdf(name, pages, **save_options)``: each page is a function that draws on it."""

    def make(name: str, pages: list[Callable[[pymupdf.Page], object]], **options: object) -> Path:
        document = pymupdf.open()
        for draw in pages:
            draw(document.new_page(width=420, height=595))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        document.save(path, **options)
        return path

    return make


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> str:
    """Every engine in turn: what holds for one holds for all."""
    return str(request.param)


@pytest.fixture
def opened(engine: str) -> Callable[[Path], Document]:
    return load_engine(engine)


@pytest.fixture
def read(opened: Callable[[Path], Document]) -> Callable[..., PageContent]:
    """``read(path, page=0, natural=False)``: one page through the engine, in this process."""

    def read_page(path: Path, page: int = 0, dpi: int = 120, natural: bool = False) -> PageContent:
        document = opened(path)
        try:
            return document.page(page, Render(dpi=dpi, max_pixels=2_000_000, natural=natural))
        finally:
            document.close()

    return read_page


@pytest.fixture
def sentence() -> str:
    return SENTENCE
