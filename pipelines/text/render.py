"""Draw single pages for question items; runs inside ``pipelines.core.sandbox``. The one module of this package that
imports PyMuPDF."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.core.sandbox import SandboxError
from pipelines.shards.sample import encode_jpeg

QUALITY = 95


@dataclass(frozen=True)
class Page:
    """One page as JPEG (quality 95, 4:4:4), size in pixels."""

    jpeg: bytes
    width: int
    height: int


def render_pages(path: str, pages: tuple[int, ...], dpi: int, max_pixels: int) -> Iterator[Page]:
    """The pages (from 0) of a PDF in the order asked. A page over ``max_pixels`` is drawn at a lower resolution.

    Raises SandboxError: ``source_unavailable``, ``parse`` (not a document), ``encrypted``, ``render`` (no such page,
    or it cannot be drawn)."""
    sys.modules.setdefault("pymupdf.layout", None)  # type: ignore[arg-type]  # an add-on that loads onnxruntime
    import pymupdf
    from PIL import Image

    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    try:
        document = pymupdf.open(path, filetype="pdf")
    except pymupdf.FileNotFoundError as error:
        raise SandboxError("source_unavailable", str(error)) from error
    except (pymupdf.FileDataError, RuntimeError, ValueError) as error:
        raise SandboxError("parse", f"not a readable PDF: {error}") from error
    with document:
        if not document.is_pdf:  # MuPDF goes by content and opens pages of a web server's error as well
            raise SandboxError("parse", "not a PDF")
        if document.needs_pass:
            raise SandboxError("encrypted", "the document needs a password")
        for number in pages:
            if not 0 <= number < document.page_count:
                raise SandboxError("render", f"page {number} does not exist, the document has {document.page_count}")
            try:
                page = document[number]
                zoom = dpi / 72
                area = page.rect.width * page.rect.height * zoom * zoom
                zoom *= min(1.0, (max_pixels / area) ** 0.5) if area > 0 else 1.0
                pixmap = page.get_pixmap(matrix=pymupdf.Matrix(zoom, zoom), colorspace=pymupdf.csRGB, alpha=False)
            except (RuntimeError, ValueError) as error:
                raise SandboxError("render", f"page {number}: {error}") from error
            image = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)
            yield Page(encode_jpeg(image, QUALITY), pixmap.width, pixmap.height)
        pymupdf.TOOLS.store_shrink(100)
