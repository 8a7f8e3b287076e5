"""pypdfium2 (BSD-3 / Apache-2.0): the second engine, for those to whom the AGPL of MuPDF is no option.

PDFium knows characters, not words: they are cut here at blanks, at the blanks and line ends PDFium adds itself, and
where two neighbours lie apart. One document at a time, one thread, in the sandbox.
"""

from __future__ import annotations

import ctypes
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw
from numpy.typing import NDArray

from pipelines.core.sandbox import SandboxError
from pipelines.documents.engine import MAX_WORDS, PageContent, Render, check_head, covered_share, without_copies

FAR = 1 << 20  # virtual pixels: PDFium maps points to whole pixels, and these are small enough to be called exact
HYPHEN = 2  # how PDFium marks a hyphen at the end of a line
HEIGHT, DEPTH = 0.95, 0.3  # of the font size above and below the baseline; some fonts claim twice that
BLANKS = frozenset(" \t\r\n\f\v\u00a0\u3000")


class PdfiumDocument:
    def __init__(self, path: Path) -> None:
        self._document = pdfium.PdfDocument(path)
        self._document.init_forms()

    @property
    def pages(self) -> int:
        return len(self._document)

    def page(self, index: int, render: Render) -> PageContent:
        with closing(self._document[index]) as page:
            width, height = page.get_size()
            scale = render.scale(width, height)
            with closing(page.render(scale=scale, rev_byteorder=True)) as bitmap:
                image = bitmap.to_numpy()[:, :, :3].copy()
            if render.grey:
                image = without_copies(image)
            place = _placing(page, image.shape[1], image.shape[0])
            with closing(page.get_textpage()) as text:
                texts, found = _words(text)
                boxes = _placed(found, place)
                area, invisible = 0.0, 0.0
                if not texts or next(_images(page), None):
                    area = covered_share(_image_boxes(page, place), image.shape[1], image.shape[0])
                    if texts and area > 0.1:
                        invisible = _invisible(text)
            return PageContent(index, image, boxes, tuple(texts), area, invisible, (width, height), scale)

    def text(self, index: int) -> str:
        with closing(self._document[index]) as page, closing(page.get_textpage()) as text:
            return " ".join(_words(text)[0])

    def close(self) -> None:
        self._document.close()


def _placing(page: pdfium.PdfPage, width: int, height: int) -> NDArray[np.float64]:
    """Matrix [3, 2] from points of the unrotated page to pixels of its raster, rotation and crop box included."""
    corners = []
    x, y = ctypes.c_int(), ctypes.c_int()
    for px, py in ((0.0, 0.0), (1000.0, 0.0), (0.0, 1000.0)):
        raw.FPDF_PageToDevice(page, 0, 0, FAR, FAR, 0, px, py, x, y)
        corners.append((x.value / FAR * width, y.value / FAR * height))
    origin, right, up = np.array(corners, dtype=np.float64)
    return np.stack([(right - origin) / 1000, (up - origin) / 1000, origin])


def _placed(boxes: list[tuple[float, float, float, float]], place: NDArray[np.float64]) -> NDArray[np.float32]:
    """(left, bottom, right, top) in points -> [N, 4] (x0, y0, x1, y1) in pixels."""
    found = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    first, second = found[:, :2] @ place[:2] + place[2], found[:, 2:] @ place[:2] + place[2]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1).astype(np.float32)


def _words(text: pdfium.PdfTextPage) -> tuple[list[str], list[tuple[float, float, float, float]]]:
    """Words and their boxes in points. Only the first and the last character of a word are measured (a call each):
    characters between them lie between them."""
    texts: list[str] = []
    boxes: list[tuple[float, float, float, float]] = []
    first, letters = -1, ""
    count = raw.FPDFText_CountChars(text)
    unicode_of = raw.FPDFText_GetUnicode
    for index in range(count + 1):
        code = unicode_of(text, index) if index < count else 32
        letter = "-" if code == HYPHEN else chr(code) if 0 < code <= 0x10FFFF else "\ufffd"
        blank = letter in BLANKS
        if not blank:
            first = index if first < 0 else first
            letters += _expanded(letter)
        if first >= 0 and (blank or code == HYPHEN):  # the rest of a hyphenated word stands on the next line
            box = _around(text, first, index - blank)
            if box is not None:
                texts.append(letters if letters.isascii() else _logical(text, first, index - blank, letters))
                boxes.append(box)
                if len(texts) == MAX_WORDS:
                    break
            first, letters = -1, ""
    return texts, boxes


def _expanded(letter: str) -> str:
    """Ligatures and presentation forms as the letters they stand for, as MuPDF gives them."""
    code = ord(letter)
    return unicodedata.normalize("NFKC", letter) if 0xFB00 <= code <= 0xFDFF or 0xFE70 <= code <= 0xFEFC else letter


def _around(text: pdfium.PdfTextPage, first: int, last: int) -> tuple[float, float, float, float] | None:
    box = raw.FS_RECTF()
    sides = []
    for index in {first, last}:
        if raw.FPDFText_GetLooseCharBox(text, index, box):
            sides.append((box.left, box.bottom, box.right, box.top))
    if not sides:
        return None
    left, bottom, right, top = zip(*sides, strict=True)
    low, high = min(bottom), max(top)
    matrix, x, y = raw.FS_MATRIX(), ctypes.c_double(), ctypes.c_double()
    if (
        raw.FPDFText_GetMatrix(text, first, matrix)
        and abs(matrix.b) < 0.01 * abs(matrix.a)
        and raw.FPDFText_GetCharOrigin(text, first, x, y)
    ):
        size = raw.FPDFText_GetFontSize(text, first) * abs(matrix.d)
        low, high = max(low, y.value - DEPTH * size), min(high, max(y.value + HEIGHT * size, low + 1))
    return (min(left), low, max(right), high)


def _logical(text: pdfium.PdfTextPage, first: int, last: int, letters: str) -> str:
    """Surrogate pairs joined; a right-to-left word that PDFium left in the order it stands on the page is turned."""
    word = letters.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    kinds = {unicodedata.bidirectional(letter) for letter in word}
    if len(word) > 1 and kinds & {"R", "AL"} and "L" not in kinds:
        matrix, x, y = raw.FS_MATRIX(), ctypes.c_double(), ctypes.c_double()
        raw.FPDFText_GetMatrix(text, first, matrix)
        raw.FPDFText_GetCharOrigin(text, first, x, y)
        start = matrix.a * x.value + matrix.b * y.value
        raw.FPDFText_GetCharOrigin(text, last, x, y)
        if matrix.a * x.value + matrix.b * y.value > start:
            return "".join(reversed(_clusters(word)))
    return word


def _clusters(word: str) -> list[str]:
    """Letters with the marks that follow them."""
    parts: list[str] = []
    for letter in word:
        if parts and unicodedata.combining(letter):
            parts[-1] += letter
        else:
            parts.append(letter)
    return parts


def _images(page: pdfium.PdfPage) -> Iterator[pdfium.PdfObject]:
    return page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4)


def _image_boxes(page: pdfium.PdfPage, place: NDArray[np.float64]) -> NDArray[np.float32]:
    """Pictures of the page in pixels; those inside a form are moved by the form's matrix."""
    boxes = []
    for item in _images(page):
        left, bottom, right, top = item.get_bounds()
        corners = np.array([(left, bottom), (right, top), (left, top), (right, bottom)])
        around = item.container
        while around is not None:
            a, b, c, d, e, f = around.get_matrix().get()
            corners = corners @ np.array([(a, b), (c, d)]) + (e, f)
            around = around.container
        boxes.append((*corners.min(axis=0), *corners.max(axis=0)))
    return _placed(boxes, place)


def _invisible(text: pdfium.PdfTextPage) -> float:
    """Share of characters in the invisible render mode or with a transparent fill."""
    count, hidden, total = raw.FPDFText_CountChars(text), 0, 0
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    for index in range(count):
        if raw.FPDFText_IsGenerated(text, index) == 1:
            continue
        total += 1
        shown = raw.FPDFTextObj_GetTextRenderMode(raw.FPDFText_GetTextObject(text, index))
        clear = raw.FPDFText_GetFillColor(text, index, red, green, blue, alpha) and alpha.value == 0
        hidden += shown == raw.FPDF_TEXTRENDERMODE_INVISIBLE or bool(clear)
    return round(hidden / total, 4) if total else 0.0


def open_document(path: Path) -> PdfiumDocument:
    """Open a PDF by content. Raises SandboxError: ``parse`` for what is no PDF, ``encrypted`` for a password, ``empty``
    for no pages."""
    check_head(path)
    try:
        return PdfiumDocument(path)
    except pdfium.PdfiumError as error:
        _explain(path)
        raise error


def _explain(path: Path) -> None:
    """Raise SandboxError where PDFium can say why it does not open a file. pypdfium2 asks for the last error of the
    process, and for a file that opens and has no pages that is the error of an earlier file."""
    document = raw.FPDF_LoadDocument(str(path).encode() + b"\0", None)
    if not document:
        if raw.FPDF_GetLastError() == raw.FPDF_ERR_PASSWORD:
            raise SandboxError("encrypted", "the file needs a password")
        return
    pages = raw.FPDF_GetPageCount(document)
    raw.FPDF_CloseDocument(document)
    if pages < 1:
        raise SandboxError("empty", "the file has no pages")
