"""PyMuPDF (AGPL or commercial): the default engine. The only module of this package that imports it.

One document at a time, one thread, in the sandbox. Ligatures are expanded and unknown glyphs come as U+FFFD, so that
labels are plain text and broken fonts can be seen.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pipelines.core.sandbox import SandboxError
from pipelines.documents.engine import MAX_WORDS, PageContent, Render, check_head, covered_share, without_copies

# Add-ons that PyMuPDF imports by itself and that load onnxruntime: words and pictures need none of it, and a child starts
# sooner without.
for name in ("pymupdf.layout", "pymupdf4llm"):
    sys.modules.setdefault(name, None)  # type: ignore[arg-type]

import pymupdf  # noqa: E402
from pymupdf import mupdf  # noqa: E402

FLAGS = pymupdf.TEXT_MEDIABOX_CLIP | pymupdf.TEXT_PRESERVE_WHITESPACE
INVISIBLE = 3  # PDF text render mode
COLOURLESS, UNCERTAIN, COLOURED = 0, 1, 2  # MuPDF's verdicts; uncertain are pictures in a colour space
EVERYWHERE = mupdf.FzRect(mupdf.FzRect.Fixed_INFINITE)

pymupdf.TOOLS.mupdf_display_errors(False)
pymupdf.TOOLS.mupdf_display_warnings(False)


class _Samples:
    """The pixels of a pixmap as an array [h, w, n] that keeps the pixmap alive: MuPDF's own view does not."""

    def __init__(self, pixmap: pymupdf.Pixmap) -> None:
        self.pixmap = pixmap
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (pixmap.h, pixmap.w, pixmap.n),
            "strides": (pixmap.stride, pixmap.n, 1),
            "data": (pixmap.samples_ptr, False),
        }


class MuPdfDocument:
    def __init__(self, path: Path) -> None:
        self._document = pymupdf.open(path)

    @property
    def pages(self) -> int:
        return self._document.page_count

    def page(self, index: int, render: Render) -> PageContent:
        page = self._document[index]
        width, height = page.rect.width, page.rect.height
        scale = render.scale(width, height)
        shown = page.get_displaylist()  # read once, for colours and pixels
        colours = _colours(shown) if render.grey else COLOURED
        space = pymupdf.csGRAY if colours == COLOURLESS else pymupdf.csRGB
        pixmap = shown.get_pixmap(matrix=pymupdf.Matrix(scale, scale), colorspace=space, alpha=0)
        image = np.ascontiguousarray(np.asarray(_Samples(pixmap)))
        if colours == UNCERTAIN:
            image = without_copies(image)
        # Not from the display list: it keeps places rounded, and a real page lost a blank ("inferenceand").
        found = page.get_text("words", flags=FLAGS)[:MAX_WORDS]
        x0, y0, x1, y1, texts, *_ = zip(*found, strict=True) if found else ((),) * 5
        boxes = np.ascontiguousarray(np.array((x0, y0, x1, y1), dtype=np.float32).T)
        boxes = _displayed(page, boxes) * np.float32(scale)
        area, invisible = 0.0, 0.0
        if not found or page.get_images():
            pictures = np.array([info["bbox"] for info in page.get_image_info()], dtype=np.float32).reshape(-1, 4)
            area = covered_share(_displayed(page, pictures), width, height)
            if found and area > 0.1:
                invisible = _invisible(page)
        return PageContent(index, image, boxes, texts, area, invisible, (width, height), scale)

    def text(self, index: int) -> str:
        return " ".join(word[4] for word in self._document[index].get_text("words", flags=FLAGS)[:MAX_WORDS])

    def close(self) -> None:
        self._document.close()
        pymupdf.TOOLS.store_shrink(100)


def _invisible(page: pymupdf.Page) -> float:
    """Share of characters in the invisible render mode or fully transparent."""
    spans = page.get_texttrace()
    total = sum(len(span["chars"]) for span in spans)
    hidden = sum(len(span["chars"]) for span in spans if span["type"] == INVISIBLE or span["opacity"] == 0)
    return round(hidden / total, 4) if total else 0.0


def _colours(shown: pymupdf.DisplayList) -> int:
    """Does anything on the page have a colour?"""
    verdict = mupdf.ll_fz_new_test_device_outparams()
    device = mupdf.FzDevice(mupdf.ll_fz_new_test_device_outparams_fn(0.0, 0, None, verdict))
    mupdf.fz_run_display_list(shown.this, device, mupdf.FzMatrix(), EVERYWHERE, mupdf.FzCookie())
    mupdf.fz_close_device(device)
    return int(verdict.is_color)


def _displayed(page: pymupdf.Page, boxes: np.ndarray) -> np.ndarray:
    """Boxes [N, 4] of the unrotated page as they lie on the page shown (``/Rotate``)."""
    if not page.rotation or not len(boxes):
        return boxes
    matrix = np.array(tuple(page.rotation_matrix), dtype=np.float32).reshape(3, 2)  # type: ignore[arg-type]
    first, second = (boxes[:, corner] @ matrix[:2] + matrix[2] for corner in ([0, 1], [2, 3]))
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)


def open_document(path: Path) -> MuPdfDocument:
    """Open a PDF by content. Raises SandboxError: ``parse`` for what is no PDF, ``encrypted`` for a password."""
    check_head(path)
    document = MuPdfDocument(path)
    if document._document.needs_pass:
        raise SandboxError("encrypted", "the file needs a password")
    return document
