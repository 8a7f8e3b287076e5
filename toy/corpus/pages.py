"""Rich pages, scans and bad files: what the pipeline's claims are shown on (the cards carry the learning).

46 born-digital A5 pages in four kinds (columns, reports with a bar chart, tables, scripts), 6 scans that hold nothing
but a picture (skewed, noisy, few lines) and 3 files that cannot be read. Bytes are a function of the seed."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.seeds import generator
from pipelines.images.fonts import faces
from pipelines.images.words import draw_word, sentence
from toy.corpus.cards import save_pdf

WIDTH, HEIGHT, MARGIN = 420.0, 595.0, 36.0
PAGES = {"columns": (9, 3), "report": (9, 3), "table": (9, 3), "scripts": (8, 2)}
"""Kind -> pages of the train and of the test file."""

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


@dataclass(frozen=True)
class Scan:
    """One scanned page: its lines of text and the picture [H, W, 3] uint8 that is all the page holds."""

    lines: tuple[str, ...]
    image: np.ndarray


@cache
def _font(face: str) -> Any:
    import pymupdf

    return pymupdf.Font(face)


@cache
def _advance(face: str, character: str) -> float:
    return float(_font(face).glyph_advance(ord(character)))


def text_width(face: str, text: str, size: float) -> float:
    """Width of a line in points; ``Font.text_length`` with each glyph measured once."""
    return size * sum(_advance(face, character) for character in text)


class Sheet:
    """A page being typeset, top to bottom. Units are points."""

    def __init__(self, document: Any, face: str, rng: np.random.Generator, split: str) -> None:
        import pymupdf

        self.pymupdf, self.rng, self.split = pymupdf, rng, split
        self.page = document.new_page(width=WIDTH, height=HEIGHT)
        self.writer = pymupdf.TextWriter(self.page.rect)
        self.face = face

    def line(self, x: float, y: float, text: str, size: float, face: str = "") -> None:
        """One line with its baseline at ``y``."""
        self.writer.append((x, y), text, font=_font(face or self.face), fontsize=size)

    def paragraph(
        self,
        units: Sequence[str],
        x: float,
        y: float,
        width: float,
        bottom: float,
        size: float,
        glue: str = " ",
        face: str = "",
    ) -> float:
        """Greedy lines of ``units`` joined by ``glue`` down to ``bottom``; what does not fit is left out. Returns the y
        below the last line."""
        face = face or self.face
        gap = text_width(face, glue, size)
        rows: list[list[str]] = [[]]
        used = 0.0
        for unit in units:
            wide = text_width(face, unit, size)
            if rows[-1] and used + gap + wide > width:
                rows.append([])
            used = used + gap + wide if rows[-1] else wide
            rows[-1].append(unit)
        for row in rows:
            if y + 1.3 * size > bottom:
                break
            y += 1.3 * size
            self.line(x, y, glue.join(row), size, face)
        return y + 0.3 * size

    def sentences(self, count: int) -> list[str]:
        return " ".join(sentence(self.rng, self.split) for _ in range(count)).split(" ")

    def title(self, y: float) -> float:
        size = 18.0
        text = " ".join(draw_word(self.rng, self.split) for _ in range(3)).title()
        self.line(MARGIN, y + size, text, size)
        return y + 1.6 * size

    def finish(self) -> None:
        self.writer.write_text(self.page)


def _columns(sheet: Sheet, number: int) -> None:
    """A title over two or three columns of paragraphs, a page number below."""
    count = 2 + number % 2
    top = sheet.title(MARGIN)
    gutter = 16.0
    width = (WIDTH - 2 * MARGIN - (count - 1) * gutter) / count
    for column in range(count):
        x, y = MARGIN + column * (width + gutter), top + 6
        while y < HEIGHT - 2 * MARGIN - 30:
            y = sheet.paragraph(sheet.sentences(3), x, y, width, HEIGHT - 2 * MARGIN, 9) + 5
    sheet.line(WIDTH / 2, HEIGHT - MARGIN, str(number + 1), 9)


def _report(sheet: Sheet, number: int) -> None:
    """Text, a bar chart with labels and values, its caption, more text."""
    y = sheet.title(MARGIN)
    y = sheet.paragraph(sheet.sentences(5), MARGIN, y, WIDTH - 2 * MARGIN, y + 130, 10)
    left, base, bars = MARGIN + 20, y + 150, int(sheet.rng.integers(4, 7))
    values = sheet.rng.integers(5, 100, bars)
    sheet.page.draw_line((left, base - 130), (left, base), width=0.8)
    sheet.page.draw_line((left, base), (WIDTH - MARGIN, base), width=0.8)
    step = (WIDTH - MARGIN - left) / bars
    for i, value in enumerate(values):
        x = left + i * step
        colour = tuple(float(c) for c in sheet.rng.uniform(0.2, 0.8, 3))
        sheet.page.draw_rect((x + 0.2 * step, base - 1.2 * float(value), x + 0.8 * step, base), color=None, fill=colour)
        sheet.line(x + 0.3 * step, base - 1.2 * float(value) - 3, str(value), 8)
        sheet.line(x + 0.15 * step, base + 11, draw_word(sheet.rng, sheet.split)[:7], 8)
    caption = [f"Figure {number + 1}:", *sheet.sentences(1)]
    y = sheet.paragraph(caption, MARGIN, base + 18, WIDTH - 2 * MARGIN, base + 50, 9)
    sheet.paragraph(sheet.sentences(9), MARGIN, y + 8, WIDTH - 2 * MARGIN, HEIGHT - MARGIN, 10)


def _table(sheet: Sheet, number: int) -> None:
    """A ruled table of names and numbers between two paragraphs."""
    y = sheet.title(MARGIN)
    y = sheet.paragraph(sheet.sentences(3), MARGIN, y, WIDTH - 2 * MARGIN, y + 90, 10) + 8
    rows, columns = int(sheet.rng.integers(6, 12)), int(sheet.rng.integers(3, 5))
    width, height = (WIDTH - 2 * MARGIN) / columns, 18.0
    for r in range(rows + 1):
        sheet.page.draw_line((MARGIN, y + r * height), (WIDTH - MARGIN, y + r * height), width=0.5)
        if r == rows:
            break
        for c in range(columns):
            number_cell = r > 0 and c > 0
            text = f"{int(sheet.rng.integers(10, 9999)):,}" if number_cell else draw_word(sheet.rng, sheet.split)
            sheet.line(MARGIN + c * width + 4, y + (r + 1) * height - 5, text, 10)
    y += rows * height + 14
    y = sheet.paragraph([f"Table {number + 1}.", *sheet.sentences(1)], MARGIN, y, WIDTH - 2 * MARGIN, y + 40, 9)
    sheet.paragraph(sheet.sentences(8), MARGIN, y + 8, WIDTH - 2 * MARGIN, HEIGHT - MARGIN, 10)


def _scripts(sheet: Sheet, number: int) -> None:
    """Paragraphs in Latin, Greek, Cyrillic, Chinese and kana."""
    y = sheet.title(MARGIN)
    width = WIDTH - 2 * MARGIN
    for script in ("latin", *np.roll(SCRIPTS, number % len(SCRIPTS))):
        if script in ("han", "kana"):
            letters = HAN if script == "han" else KANA
            drawn = [letters[int(i)] for i in sheet.rng.integers(len(letters), size=70)]
            drawn[23] = drawn[46] = "、" if script == "kana" else "，"
            y = sheet.paragraph([*drawn, "。"], MARGIN, y, width, HEIGHT - MARGIN, 12, glue="", face="cjk") + 8
            continue
        table = {"greek": GREEK, "cyrillic": CYRILLIC}.get(str(script), {})
        text = " ".join(sheet.sentences(4)).lower().translate(table)
        y = sheet.paragraph(text.split(" "), MARGIN, y, width, HEIGHT - MARGIN, 11) + 8


KINDS: dict[str, Callable[[Sheet, int], None]] = {
    "columns": _columns,
    "report": _report,
    "table": _table,
    "scripts": _scripts,
}
SCRIPT_FACES = {"train": ("figo",), "test": ("notos",)}  # the faces with Greek and Cyrillic letters


def write_pages(directory: Path, seed: int) -> list[dict]:
    """Write ``documents/{columns,report,table,scripts}-{split}.pdf``, ``scans-{split}.pdf`` and ``bad-*.pdf``.

    Returns one row a file for ``corpus.jsonl``: file, family (``page``, ``scan``, ``bad``), split.
    """
    import pymupdf

    folder = directory / "documents"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for kind, counts in PAGES.items():
        for split, count in zip(("train", "test"), counts, strict=True):
            rng = generator("pages", seed, kind, split)
            document = pymupdf.open()
            choice = SCRIPT_FACES[split] if kind == "scripts" else faces(split)
            for number in range(count):
                sheet = Sheet(document, choice[int(rng.integers(len(choice)))], rng, split)
                KINDS[kind](sheet, number)
                sheet.finish()
            name = f"documents/{kind}-{split}.pdf"
            save_pdf(document, directory / name)
            rows.append({"file": name, "family": "page", "split": split})
    for split in SCANS:
        name = f"documents/scans-{split}.pdf"
        _write_scans(directory / name, make_scans(seed, split))
        rows.append({"file": name, "family": "scan", "split": split})
    return rows + _write_bad(directory, seed)


def make_scans(seed: int, split: str) -> list[Scan]:
    """The scans of a split: 4-6 lines of words typeset, printed to pixels, turned by up to 1.2 degrees, shaded, with
    noise. Their words and faces are those of the split."""
    import pymupdf
    from PIL import Image

    rng = generator("scans", seed, split)
    choice = [face for face in faces(split) if face not in ("cour", "cobo")]
    scans = []
    width, height = SCAN_SIZE
    for _ in range(SCANS[split]):
        document = pymupdf.open()
        page = document.new_page(width=width, height=height)
        writer = pymupdf.TextWriter(page.rect)
        face = choice[int(rng.integers(len(choice)))]
        lines = []
        for row in range(int(rng.integers(4, 7))):
            text = draw_word(rng, split)
            while text_width(face, longer := f"{text} {draw_word(rng, split)}", 26) < width - 120:
                text = longer
            writer.append((60, 80 + 64 * row), text, font=_font(face), fontsize=26)
            lines.append(text)
        writer.write_text(page)
        pixmap = page.get_pixmap(alpha=False)
        picture = Image.frombytes("RGB", (pixmap.width, pixmap.height), pixmap.samples)
        document.close()
        picture = picture.rotate(float(rng.uniform(-1.2, 1.2)), Image.Resampling.BICUBIC, fillcolor="white")
        light = np.linspace(rng.uniform(0.8, 1.0), rng.uniform(0.8, 1.0), width)[None, :, None]
        paper = 0.9 * np.asarray(picture, dtype=np.float64) * light + 6.0 * rng.standard_normal((height, width, 1))
        scans.append(Scan(tuple(lines), np.clip(np.rint(paper), 0, 255).astype(np.uint8)))
    return scans


def _write_scans(path: Path, scans: Sequence[Scan]) -> None:
    import pymupdf
    from PIL import Image

    document = pymupdf.open()
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


def _write_bad(directory: Path, seed: int) -> list[dict]:
    """A file cut off in its first objects, one that needs a password, one of random bytes after a PDF header."""
    whole = (directory / "documents" / "columns-train.pdf").read_bytes()
    (directory / "documents" / "bad-truncated.pdf").write_bytes(whole[:400])
    (directory / "documents" / "bad-encrypted.pdf").write_bytes(_locked(seed))
    noise = generator("bad", seed).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    (directory / "documents" / "bad-garbage.pdf").write_bytes(b"%PDF-1.7\n" + noise)
    names = ("bad-encrypted", "bad-garbage", "bad-truncated")
    return [{"file": f"documents/{name}.pdf", "family": "bad", "split": "train"} for name in names]
