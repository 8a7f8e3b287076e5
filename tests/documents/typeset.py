"""Pages typeset by code for the tests of layout: each piece of text (a *flow*) is known, with its place in reading
order, so that what the stage reads can be held against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pymupdf

WIDTH, HEIGHT = 595.0, 842.0
WORDS = (
    "river stone market window garden letter music winter paper bridge silver morning forest engine harbour candle "
    "valley circle pocket button shadow mirror thunder blanket kitchen ladder pencil ribbon saddle tunnel"
).split()


@cache
def _font(face: str) -> pymupdf.Font:
    return pymupdf.Font(fontfile=face) if face.endswith(".ttf") else pymupdf.Font(face)


def plain(count: int, seed: int) -> str:
    """``count`` words; other seeds give other words at every place."""
    return " ".join(f"{WORDS[(seed * 7 + i * 11) % len(WORDS)]}{seed}{i}" for i in range(count))


@dataclass
class Typeset:
    """One page and its flows in the order a reader takes."""

    page: pymupdf.Page
    flows: list[tuple[str, str]] = field(default_factory=list)

    def line(self, x: float, y: float, text: str, size: float = 10, face: str = "helv", right: bool = False) -> None:
        """One line with its baseline at ``y``, from ``x`` to the right, or (``right``) from ``x`` to the left."""
        font = _font(face)
        if right:
            x -= font.text_length(text, size)
        writer = pymupdf.TextWriter(self.page.rect)
        writer.append((x, y), text, font=font, fontsize=size, right_to_left=right)
        writer.write_text(self.page)

    def paragraph(
        self,
        name: str,
        text: str,
        x: float,
        y: float,
        width: float,
        size: float = 10,
        face: str = "helv",
        right: bool = False,
        glue: str = " ",
        pitch: float = 1.2,
    ) -> float:
        """A flow set in lines of ``width`` points from ``y`` down. Returns the y of its foot."""
        font = _font(face)
        units = text.split(" ") if glue else list(text)
        rows = [units[:1]]
        for unit in units[1:]:
            if font.text_length(glue.join([*rows[-1], unit]), size) > width:
                rows.append([])
            rows[-1].append(unit)
        for number, row in enumerate(rows):
            self.line(x + width if right else x, y + size + number * pitch * size, glue.join(row), size, face, right)
        self.flows.append((name, text))
        return y + size + (len(rows) - 1) * pitch * size + 0.3 * size

    def table(
        self,
        name: str,
        rows: Sequence[Sequence[str]],
        x: float,
        y: float,
        widths: Sequence[float],
        size: float = 9,
        height: float = 16,
        ruled: bool = True,
        by_column: bool = False,
    ) -> float:
        """A flow of cells, left aligned. ``by_column`` writes them into the file column after column."""
        edges = [x + sum(widths[:i]) for i in range(len(widths) + 1)]
        cells = [(r, c) for r in range(len(rows)) for c in range(len(widths))]
        for r, c in sorted(cells, key=lambda cell: cell[::-1]) if by_column else cells:
            self.line(edges[c] + 4, y + (r + 1) * height - 5, rows[r][c], size)
        if ruled:
            for r in range(len(rows) + 1):
                self.page.draw_line((x, y + r * height), (edges[-1], y + r * height), width=0.5)
            for edge in edges:
                self.page.draw_line((edge, y), (edge, y + len(rows) * height), width=0.5)
        self.flows.append((name, " ".join(cell for row in rows for cell in row)))
        return y + len(rows) * height

    def figure(self, x: float, y: float, width: float, height: float) -> float:
        """A drawing without text."""
        self.page.draw_rect((x, y, x + width, y + height), width=0.8)
        for step in range(1, 6):
            at = x + step * width / 6
            self.page.draw_line((at, y + height - 4), (at, y + height * (0.2 + 0.1 * step)), width=6)
        return y + height


def new_page(document: pymupdf.Document) -> Typeset:
    return Typeset(document.new_page(width=WIDTH, height=HEIGHT))


def mpl_face() -> str:
    """A face with Arabic and Hebrew letters, from matplotlib's wheel."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
