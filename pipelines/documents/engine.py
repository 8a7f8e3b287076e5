"""What a PDF engine must do, and nothing of how. Engines live in ``engine_<name>.py`` and run only in the sandbox."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.core.sandbox import SandboxError

ENGINES = {"pymupdf": "pipelines.documents.engine_pymupdf", "pypdfium2": "pipelines.documents.engine_pdfium"}
MAX_WORDS = 20_000  # of one page; a page with more is a trap, not a text
GRID = 32  # cells a side on which the share of pictures is counted


@dataclass(frozen=True)
class Render:
    """How pages become pixels: ``dpi``, capped so that a page has at most ``max_pixels`` and no side over ``max_side``
    pixels; ``natural`` renders at 72 dpi (cards: 224 x 112 points are 224 x 112 pixels); ``grey`` gives pages without
    colour in one channel."""

    dpi: int
    max_pixels: int
    max_side: int = 4096
    natural: bool = False
    grey: bool = False

    def scale(self, width: float, height: float) -> float:
        """Pixels per point for a page of ``width`` x ``height`` points.

        >>> Render(dpi=144, max_pixels=1_000_000).scale(500, 500), Render(144, 250_000).scale(500, 500)
        (2.0, 1.0)
        """
        wanted = 1.0 if self.natural else self.dpi / 72
        side = max(width, height, 1e-6)
        return min(wanted, math.sqrt(self.max_pixels / max(width * height, 1e-6)), self.max_side / side)


@dataclass(frozen=True)
class PageContent:
    """One page as an engine sees it.

    ``image`` is the clean raster [H, W, C] uint8 with three channels, or one (``Render.grey``); ``boxes`` [N, 4]
    float32 (x0, y0, x1, y1) in its pixels belong to ``texts`` (words of the text layer in the order of the file).
    ``image_area`` is the share of the page under pictures (0-1), ``invisible`` the share of characters drawn in the
    invisible mode (an OCR layer), ``points`` the page size."""

    index: int
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    texts: tuple[str, ...]
    image_area: float
    invisible: float
    points: tuple[float, float]
    scale: float


@dataclass(frozen=True)
class PageFailure:
    """A page that gave nothing: category and message for its quarantine row."""

    index: int
    category: str
    message: str


class Document(Protocol):
    """An open file. Methods raise any exception for a broken page."""

    @property
    def pages(self) -> int: ...

    def page(self, index: int, render: Render) -> PageContent: ...

    def text(self, index: int) -> str:
        """Words of the text layer in the order of the file, joined by blanks; nothing is rendered."""

    def close(self) -> None: ...


def load_engine(name: str) -> Callable[[Path], Document]:
    """The opener of an engine, which raises SandboxError with category ``encrypted``, ``parse`` or
    ``source_unavailable``. Raises KeyError for an unknown name."""
    opener: Callable[[Path], Document] = importlib.import_module(ENGINES[name]).open_document
    return opener


def check_head(path: Path) -> None:
    """Raise SandboxError for what cannot be a PDF: ``source_unavailable``, or ``parse`` without ``%PDF-`` near the
    start."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise SandboxError("source_unavailable", f"{type(error).__name__}: {error.strerror}") from error
    if not head:
        raise SandboxError("parse", "the file is empty (0 bytes)")
    if b"%PDF-" not in head:
        raise SandboxError("parse", f"not a PDF: no %PDF- in the first 4096 bytes, it begins with {head[:8]!r}")


def covered_share(boxes: NDArray[np.float32], width: float, height: float) -> float:
    """Share of a page of ``width`` x ``height`` under ``boxes`` [N, 4] (same unit), on a grid so that stacked strips do
    not count twice."""
    grid = np.zeros((GRID, GRID), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        columns = np.clip(np.rint(np.array([x0, x1]) / max(width, 1e-6) * GRID), 0, GRID).astype(int)
        rows = np.clip(np.rint(np.array([y0, y1]) / max(height, 1e-6) * GRID), 0, GRID).astype(int)
        grid[rows[0] : rows[1], columns[0] : columns[1]] = True
    return round(float(grid.mean()), 4)


def without_copies(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H, W, 1] where the three channels of [H, W, 3] are equal everywhere, else the image itself."""
    first, second, third = (image[:, :, channel] for channel in range(3))
    grey = (first == second).all() and (first == third).all()
    return first[:, :, None].copy() if grey else image
