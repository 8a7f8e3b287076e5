"""Rich pages, scans and bad files: what the pipeline's claims are shown on (the cards carry the learning).

46 born-digital A5 pages in four kinds (columns, reports with a bar chart, tables, scripts), 6 scans that hold nothing
but a picture (skewed, noisy, few lines) and 3 files that cannot be read. Bytes are a function of the seed."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.core.seeds import generator
from pipelines.images.fonts import faces
from pipelines.images.words import draw_word, sentence
from toy.corpus.files import Row, row
from toy.corpus.typeset import Document, Sheet, open_pdf, pick, pixels, save_pdf, text_width

WIDTH, HEIGHT, MARGIN = 420.0, 595.0, 36.0
SCANS = {"train": 4, "test": 2}
SCAN_SIZE = (700, 500)  # pixels, at SCAN_DPI
SCAN_DPI = 120

GREEK = str.maketrans("abcdefghijklmnopqrstuvwxyz", "αβκδεφγηιξκλμνοπθρστυωωχψζ")
CYRILLIC = str.maketrans("abcdefghijklmnopqrstuvwxyz", "абцдефгхийклмнопярстувшжыз")
HAN = (
    "天地人日月山水火木金土大小中上下左右前后东西南北春夏秋冬风雨雷电花草树林田园河海江湖星云雪石"
    "家国学书文字语言心手口目耳足父母子女男友王力工生老新长短高低多少明白黑红青黄道路门车马牛羊鱼鸟"
)
KANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわん"
SCRIPTS = ("greek", "cyrillic", "han", "kana")
Box = tuple[float, float, float, float]
"""Left, top, width and bottom of a paragraph."""


@dataclass(frozen=True)
class Scan:
    """One scanned page: its lines of text and the picture [H, W, 3] uint8 that is all the page holds."""

    lines: tuple[str, ...]
    image: np.ndarray


class Page(Sheet):
    """A page in one face, typeset from top to bottom. Units are points."""

    def __init__(self, document: Document, face: str, rng: np.random.Generator, split: str) -> None:
        super().__init__(document, WIDTH, HEIGHT)
        self.face, self.rng, self.split = face, rng, split

    def text(self, x: float, y: float, text: str, size: float) -> None:
        """One line with its baseline at ``y``."""
        self.line(x, y, text, size, self.face)

    def paragraph(self, units: Sequence[str], box: Box, size: float, glue: str = " ", face: str = "") -> float:
        """Greedy lines of ``units`` joined by ``glue`` down to the bottom; what does not fit is left out. Returns the y
        below the last line."""
        (x, y, width, bottom), face = box, face or self.face
        gap = text_width(face, glue, size)
        rows: list[list[str]] = [[]]
        used = 0.0
        for unit in units:
            wide = text_width(face, unit, size)
            if rows[-1] and used + gap + wide > width:
                rows.append([])
            used = used + gap + wide if rows[-1] else wide
            rows[-1].append(unit)
        for line in rows:
            if y + 1.3 * size > bottom:
                break
            y += 1.3 * size
            self.line(x, y, glue.join(line), size, face)
        return y + 0.3 * size

    def block(self, units: Sequence[str], y: float, bottom: float, size: float) -> float:
        """A paragraph between the margins."""
        return self.paragraph(units, (MARGIN, y, WIDTH - 2 * MARGIN, bottom), size)

    def word(self) -> str:
        return draw_word(self.rng, self.split)

    def sentences(self, count: int) -> list[str]:
        return " ".join(sentence(self.rng, self.split) for _ in range(count)).split(" ")

    def title(self, y: float) -> float:
        size = 18.0
        self.text(MARGIN, y + size, " ".join(self.word() for _ in range(3)).title(), size)
        return y + 1.6 * size


def _columns(page: Page, number: int) -> None:
    """A title over two or three columns of paragraphs, a page number below."""
    count = 2 + number % 2
    top = page.title(MARGIN)
    gutter = 16.0
    width = (WIDTH - 2 * MARGIN - (count - 1) * gutter) / count
    for column in range(count):
        x, y = MARGIN + column * (width + gutter), top + 6
        while y < HEIGHT - 2 * MARGIN - 30:
            y = page.paragraph(page.sentences(3), (x, y, width, HEIGHT - 2 * MARGIN), 9) + 5
    page.text(WIDTH / 2, HEIGHT - MARGIN, str(number + 1), 9)


def _report(page: Page, number: int) -> None:
    """Text, a bar chart with labels and values, its caption, more text."""
    y = page.title(MARGIN)
    y = page.block(page.sentences(5), y, y + 130, 10)
    left, base, bars = MARGIN + 20, y + 150, int(page.rng.integers(4, 7))
    values = page.rng.integers(5, 100, bars)
    page.page.draw_line((left, base - 130), (left, base), width=0.8)
    page.page.draw_line((left, base), (WIDTH - MARGIN, base), width=0.8)
    step = (WIDTH - MARGIN - left) / bars
    for i, value in enumerate(values):
        x, top = left + i * step, base - 1.2 * float(value)
        colour = tuple(float(c) for c in page.rng.uniform(0.2, 0.8, 3))
        page.page.draw_rect((x + 0.2 * step, top, x + 0.8 * step, base), color=None, fill=colour)
        page.text(x + 0.3 * step, top - 3, str(value), 8)
        page.text(x + 0.15 * step, base + 11, page.word()[:7], 8)
    y = page.block([f"Figure {number + 1}:", *page.sentences(1)], base + 18, base + 50, 9)
    page.block(page.sentences(9), y + 8, HEIGHT - MARGIN, 10)


def _table(page: Page, number: int) -> None:
    """A ruled table of names and numbers between two paragraphs."""
    y = page.title(MARGIN)
    y = page.block(page.sentences(3), y, y + 90, 10) + 8
    rows, columns = int(page.rng.integers(6, 12)), int(page.rng.integers(3, 5))
    width, height = (WIDTH - 2 * MARGIN) / columns, 18.0
    for r in range(rows + 1):
        page.page.draw_line((MARGIN, y + r * height), (WIDTH - MARGIN, y + r * height), width=0.5)
        for c in range(columns if r < rows else 0):
            text = f"{int(page.rng.integers(10, 9999)):,}" if r > 0 and c > 0 else page.word()
            page.text(MARGIN + c * width + 4, y + (r + 1) * height - 5, text, 10)
    y += rows * height + 14
    y = page.block([f"Table {number + 1}.", *page.sentences(1)], y, y + 40, 9)
    page.block(page.sentences(8), y + 8, HEIGHT - MARGIN, 10)


def _scripts(page: Page, number: int) -> None:
    """Paragraphs in Latin, Greek, Cyrillic, Chinese and kana."""
    y = page.title(MARGIN)
    width = WIDTH - 2 * MARGIN
    for script in ("latin", *np.roll(SCRIPTS, number % len(SCRIPTS))):
        if script in ("han", "kana"):
            letters = HAN if script == "han" else KANA
            drawn = [letters[int(i)] for i in page.rng.integers(len(letters), size=70)]
            drawn[23] = drawn[46] = "、" if script == "kana" else "，"
            y = page.paragraph([*drawn, "。"], (MARGIN, y, width, HEIGHT - MARGIN), 12, glue="", face="cjk") + 8
            continue
        table = {"greek": GREEK, "cyrillic": CYRILLIC}.get(str(script), {})
        text = " ".join(page.sentences(4)).lower().translate(table)
        y = page.block(text.split(" "), y, HEIGHT - MARGIN, 11) + 8


PAGES: dict[str, tuple[Callable[[Page, int], None], int, int]] = {
    "columns": (_columns, 9, 3),
    "report": (_report, 9, 3),
    "table": (_table, 9, 3),
    "scripts": (_scripts, 8, 2),
}
"""Kind -> how a page is set, pages of the train and of the test file."""
SCRIPT_FACES = {"train": ("figo",), "test": ("notos",)}  # the faces with Greek and Cyrillic letters


def write_pages(directory: Path, seed: int) -> list[Row]:
    """Write ``documents/{columns,report,table,scripts}-{split}.pdf``, ``scans-{split}.pdf`` and ``bad-*.pdf`` under
    ``directory``; families ``page``, ``scan``, ``bad``."""
    rows = []
    for kind, (typeset, *counts) in PAGES.items():
        for split, count in zip(("train", "test"), counts, strict=True):
            rng = generator("pages", seed, kind, split)
            document = open_pdf()
            choice = SCRIPT_FACES[split] if kind == "scripts" else faces(split)
            for number in range(count):
                page = Page(document, pick(rng, choice), rng, split)
                typeset(page, number)
                page.finish()
            rows.append(row(f"documents/{kind}-{split}.pdf", "page", split))
            save_pdf(document, directory / rows[-1]["file"])
    for split in SCANS:
        rows.append(row(f"documents/scans-{split}.pdf", "scan", split))
        _write_scans(directory / rows[-1]["file"], make_scans(seed, split))
    return rows + _write_bad(directory, seed)


def make_scans(seed: int, split: str) -> list[Scan]:
    """The scans of a split: 4-6 lines of words typeset, printed to pixels, turned by up to 1.2 degrees, shaded, with
    noise. Their words and faces are those of the split."""
    rng = generator("scans", seed, split)
    choice = [face for face in faces(split) if face not in ("cour", "cobo")]
    scans = []
    width, height = SCAN_SIZE
    for _ in range(SCANS[split]):
        with open_pdf() as document:
            sheet, face, lines = Sheet(document, width, height), pick(rng, choice), []
            for number in range(int(rng.integers(4, 7))):
                text = draw_word(rng, split)
                while text_width(face, longer := f"{text} {draw_word(rng, split)}", 26) < width - 120:
                    text = longer
                sheet.line(60, 80 + 64 * number, text, 26, face)
                lines.append(text)
            sheet.finish()
            picture = Image.fromarray(pixels(sheet.page))
        picture = picture.rotate(float(rng.uniform(-1.2, 1.2)), Image.Resampling.BICUBIC, fillcolor="white")
        light = np.linspace(rng.uniform(0.8, 1.0), rng.uniform(0.8, 1.0), width)[None, :, None]
        paper = 0.9 * np.asarray(picture, dtype=np.float64) * light + 6.0 * rng.standard_normal((height, width, 1))
        scans.append(Scan(tuple(lines), np.clip(np.rint(paper), 0, 255).astype(np.uint8)))
    return scans


def _write_scans(path: Path, scans: Sequence[Scan]) -> None:
    document = open_pdf()
    for scan in scans:
        width, height = (side * 72 / SCAN_DPI for side in SCAN_SIZE)
        page = document.new_page(width=width, height=height)
        buffer = io.BytesIO()
        Image.fromarray(scan.image).save(buffer, "JPEG", quality=80)
        page.insert_image(page.rect, stream=buffer.getvalue())
    save_pdf(document, path)


def _locked(seed: int) -> bytes:
    """A one-page PDF whose standard security handler no password opens (written by hand, because libraries draw a
    random file id)."""
    owner, user, ident = (
        generator("locked", seed, name).bytes(size).hex() for name, size in (("o", 32), ("u", 32), ("id", 16))
    )
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {WIDTH:g} {HEIGHT:g}]>>",
        f"<</Filter/Standard/V 2/R 3/Length 128/P -4/O<{owner}>/U<{user}>>>",
    ]
    data, places = b"%PDF-1.7\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj{text}endobj\n".encode()
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n" + "".join(
        f"{place:010d} 00000 n \n" for place in places
    )
    trailer = f"trailer<</Size {len(objects) + 1}/Root 1 0 R/Encrypt 4 0 R/ID[<{ident}><{ident}>]>>\n"
    return data + (table + trailer + f"startxref\n{len(data)}\n%%EOF\n").encode()


def _write_bad(directory: Path, seed: int) -> list[Row]:
    """A file cut off in its first objects, one that needs a password, one of random bytes after a PDF header."""
    whole = (directory / "documents" / "columns-train.pdf").read_bytes()
    noise = generator("bad", seed).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    files = {"encrypted": _locked(seed), "garbage": b"%PDF-1.7\n" + noise, "truncated": whole[:400]}
    rows = [row(f"documents/bad-{name}.pdf", "bad", "train") for name in files]
    for entry, content in zip(rows, files.values(), strict=True):
        (directory / entry["file"]).write_bytes(content)
    return rows
