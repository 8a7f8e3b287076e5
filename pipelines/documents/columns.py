"""Columns, table rows and captions (``layout: columns``): what lies side by side is one row only where it is a table.

Running text in narrow columns stands on common baselines as table cells do. It is told apart by how its lines break: a
line of running text ends where the next word would not have fitted. Captions are paragraphs of their own, and a block
across a gutter parts the columns above it from those below. Pure geometry on boxes in pixels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from pipelines.documents.layout import (
    Block,
    Segment,
    block_of,
    centre,
    chains,
    cut,
    is_cjk,
    is_right_to_left,
    join_segments,
    same_baseline,
    under,
    union,
    widest_gap,
)

CELLS = 3  # this many narrow pieces on one baseline are a table row
CELL_SHARE = 0.2  # of the page's width: the most its pieces have on average
PAIRS = 3  # rows of two cells are a table from this many on
ROW_PITCH = (1.15, 4.0)  # from row to row, in word heights: text lines are closer
LINE_GAP = 0.8  # in word heights: lines further apart do not follow each other
INDENT = 2.5  # in word heights: how far a line may start from the one above
COLUMN = 14.0  # in word heights: a narrower column needs more lines to be told from table cells
SURE = 3  # greedy breaks, or all there are
CROSSING = 2.5  # in word heights: gaps inside a justified line are narrower
CJK_UNIT = 4  # characters that count as a word where words are not parted
WIDE = 0.55  # of the width of what is ordered: a block that crosses a gutter

CAPTION = re.compile(
    r"(?:fig(?:ure|\.)?|table|tab\.|scheme|chart|abb(?:ildung|\.)?|tabelle|tableau|figura|tabla|рис(?:унок|\.)?"
    r"|таблица|图|圖|表|図|شكل|جدول|איור|טבלה)\s*(?:[0-9٠-٩]+(?:\.[0-9]+)*|[IVX]+|[A-Z]\.?[0-9]*)\s*(?:[:.：。．、|–—-]|$)",
    re.IGNORECASE,
)


T = TypeVar("T")


def starts_caption(text: str) -> bool:
    """Begins with the kind and the number of a figure or table, and a mark after it.

    >>> starts_caption("Figure 3: Loss over time"), starts_caption("Table 2 shows"), starts_caption("表 4．结果")
    (True, False, True)
    """
    return CAPTION.match(text) is not None


@dataclass(frozen=True)
class ProseTest:
    """When is a line running text? Among the lines up to ``around`` above and below there are at least ``lines``, with
    ``units`` words on average, in a column ``width`` word heights wide, and this share of the breaks is ``greedy``."""

    around: int
    lines: int
    units: float
    width: float
    greedy: float


TESTS = (
    ProseTest(around=3, lines=2, units=3.0, width=COLUMN, greedy=0.6),
    ProseTest(around=8, lines=6, units=2.3, width=6.0, greedy=0.75),  # narrow: cells of one length look like it
)


class _Piece:
    """A segment, and what is known about it. ``start`` and ``end`` run with the script; ``units`` are its words."""

    __slots__ = ("box", "end", "first", "height", "prose", "segment", "start", "units")

    def __init__(self, segment: Segment) -> None:
        self.segment, self.box = segment, segment.box
        x0, y0, x1, y1 = segment.box
        self.height = y1 - y0
        text = "".join([word.text for word in segment.words])
        turned = is_right_to_left(text)
        self.start, self.end = (-x1, -x0) if turned else (x0, x1)
        wide = 0 if text.isascii() else sum(map(is_cjk, text))
        if wide > len(text) / 2:
            self.units, self.first = wide / CJK_UNIT, (x1 - x0) / len(text)
        else:
            boxes = [word.box for word in segment.words]
            first = max(boxes, key=lambda box: box[2]) if turned else min(boxes)
            self.units, self.first = float(len(boxes)), first[2] - first[0]
        self.prose = False


def join_rows(segments: Sequence[Segment], page_width: float) -> list[Segment]:
    """Join the cells of table rows: three or more narrow pieces on one baseline, or two where at least three such rows
    are aligned under each other, none of them running text. ``segments`` come sorted by baseline, then from left to
    right."""
    lines = _neighbours(segments, lambda a, b: same_baseline(a.box, b.box))
    if len(lines) == len(segments):  # nothing stands beside anything
        return list(segments)
    rows = [[_Piece(segment) for segment in line] for line in lines]
    _mark_prose([piece for row in rows for piece in row])
    for row in rows:
        row.sort(key=lambda piece: piece.box[0])
    rows = _close_gaps(rows)
    groups = [group for row in rows for group in _neighbours(row, lambda a, b: not a.prose and not b.prose)]
    twos = [group for group in groups if len(group) == 2 and _is_row(group, 2, page_width)]
    paired = {id(group) for run in _neighbours(twos, _aligned) if len(run) >= PAIRS for group in run}
    result: list[Segment] = []
    for group in groups:
        if _is_row(group, CELLS, page_width) or id(group) in paired:
            result.append(join_segments([piece.segment for piece in group]))
        else:
            result += [piece.segment for piece in group]
    return result


def _neighbours(listed: Sequence[T], together: Callable[[T, T], bool]) -> list[list[T]]:
    """Cut where two neighbours are not ``together``."""
    if not listed:
        return []
    starts = [i for i in range(1, len(listed)) if not together(listed[i - 1], listed[i])]
    return [list(listed[first:last]) for first, last in pairwise([0, *starts, len(listed)])]


def _mark_prose(pieces: Sequence[_Piece]) -> None:
    """Chain pieces that start under each other, and mark those around which lines break as running text does."""
    for chain in chains(sorted(pieces, key=lambda piece: piece.box[1]), LINE_GAP, _follows):
        if len(chain) >= min(test.lines for test in TESTS):
            for at, piece in enumerate(chain):
                near = [chain[max(0, at - test.around) : at + test.around + 1] for test in TESTS]
                piece.prose = any(map(_runs, near, TESTS))


def _follows(upper: _Piece, lower: _Piece) -> bool:
    return under(upper, lower) and abs(upper.start - lower.start) < INDENT * upper.height


def _runs(near: Sequence[_Piece], test: ProseTest) -> bool:
    """Lines i and i + 1 break greedily when the first word of i + 1 is wider than what i leaves free of the column."""
    count = len(near)
    if count < test.lines or sum([piece.units for piece in near]) < test.units * count:
        return False
    end = max([piece.end for piece in near])
    if end - min([piece.start for piece in near]) < test.width * near[0].height:
        return False
    greedy, upper = 0, near[0]
    for lower in near[1:]:
        greedy += end - upper.end < lower.first + 0.4 * upper.height
        upper = lower
    return greedy >= min(count - 1, max(SURE, test.greedy * (count - 1)))


def _close_gaps(rows: Sequence[list[_Piece]]) -> list[list[_Piece]]:
    """Join neighbours on a baseline that are one justified line: running text right above or below reaches across."""
    closed = []
    for at, row in enumerate(rows):
        around = [
            piece for other in rows[max(0, at - 3) : at + 4] if other is not row for piece in other if piece.prose
        ]
        joined = row[:1]
        for piece in row[1:]:
            last = joined[-1]
            near = (last.prose or piece.prose) and piece.box[0] - last.box[2] < CROSSING * piece.height
            if near and any(_spans(one, last, piece) for one in around):
                joined[-1] = _Piece(join_segments([last.segment, piece.segment]))
                joined[-1].prose = True
            else:
                joined.append(piece)
        closed.append(joined)
    return closed


def _spans(piece: _Piece, left: _Piece, right: _Piece) -> bool:
    box, height = piece.box, piece.height
    apart = max(box[1] - left.box[3], left.box[1] - box[3])
    return (
        apart < LINE_GAP * height
        and box[0] < left.box[0] + height
        and box[2] > right.box[2] - height
        and box[2] - box[0] > COLUMN * height
    )


def _is_row(group: Sequence[_Piece], cells: int, page_width: float) -> bool:
    widths = [piece.box[2] - piece.box[0] for piece in group]
    return len(group) >= cells and sum(widths) < CELL_SHARE * page_width * len(widths)


def _aligned(upper: Sequence[_Piece], lower: Sequence[_Piece]) -> bool:
    """Cell under cell, and further apart than lines of text."""
    height = upper[0].height
    least, most = ROW_PITCH
    if not least * height < lower[0].box[3] - upper[0].box[3] < most * height:
        return False
    return all(
        min(abs(a.box[0] - b.box[0]), abs(a.box[2] - b.box[2]), abs(a.box[0] + a.box[2] - b.box[0] - b.box[2]) / 2)
        < 0.5 * height
        for a, b in zip(upper, lower, strict=True)
    )


def column_order(blocks: Sequence[Block]) -> list[Block]:
    """Reading order, captions parted from the text above them. As ``layout.reading_order``, but where blocks across a
    gutter hide the columns, what lies between two such blocks is read as a page of its own."""
    right_to_left = is_right_to_left("".join([block.text for block in blocks]))
    return cut([part for block in blocks for part in _parted(block)], right_to_left, _bands)


def _parted(block: Block) -> list[Block]:
    parts = _neighbours(block.lines, lambda _, line: not starts_caption(line.text))
    return [block] if len(parts) == 1 else [block_of(lines) for lines in parts]


def _bands(blocks: list[Block], least: float, rtl: bool) -> list[Block] | None:
    """Where blocks across a gutter hide it: these in their order from the top, and between them what stands beside it."""
    x0, _, x1, _ = union([block.box for block in blocks])
    narrow = [block for block in blocks if block.box[2] - block.box[0] < WIDE * (x1 - x0)]
    gutter = widest_gap([(block.box[0], block.box[2]) for block in narrow], least)
    if gutter is None:
        return None
    across = sorted(
        (block for block in blocks if block.box[0] < gutter < block.box[2]), key=lambda block: centre(block.box)
    )
    bands: list[list[Block]] = [[] for _ in range(len(across) + 1)]
    for block in blocks:
        if not block.box[0] < gutter < block.box[2]:
            bands[sum(centre(one.box) < centre(block.box) for one in across)].append(block)
    result = cut(bands[0], rtl, _bands)
    for block, band in zip(across, bands[1:], strict=True):
        result += [block, *cut(band, rtl, _bands)]
    return result
