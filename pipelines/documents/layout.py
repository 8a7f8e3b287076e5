"""Words -> lines -> paragraphs in reading order. Pure geometry on boxes in pixels; no engine's line numbers are used,
because engines disagree about them.

Lines keep the order of the file for scripts read left to right; a line that is mostly Arabic or Hebrew is put into
logical order (words from right to left, embedded left-to-right words back in their own order). Chinese and Japanese
words are joined without blanks.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from typing import Literal, NamedTuple, Protocol, TypeVar

import numpy as np

Box = tuple[float, float, float, float]
Layout = Literal["plain", "columns"]

SPLIT_GAP = 1.2  # in word heights: a wider gap starts a new segment (column, table cell)
JOIN_GAP = 1.0
LINE_GAP = 0.45  # in line heights: a larger distance starts a new paragraph
TABLE_CELLS = 3  # this many narrow segments on one baseline are a table row


class Word(NamedTuple):
    """Made some hundred times a page, and cheaper than a frozen dataclass."""

    text: str
    box: Box


@dataclass(frozen=True)
class Line:
    """Words on one baseline in logical order. ``height`` is the median height of its words' boxes in pixels."""

    words: tuple[Word, ...]
    box: Box
    height: float

    @cached_property
    def text(self) -> str:
        return join_words([word.text for word in self.words])


@dataclass(frozen=True)
class Block:
    """A paragraph: lines top to bottom."""

    lines: tuple[Line, ...]
    box: Box

    @cached_property
    def text(self) -> str:
        return join_words([line.text for line in self.lines])


class Segment(NamedTuple):
    """Words on one baseline that belong together, and the box around them. ``height`` is that of all its words' boxes,
    None if they differ or nobody looked; ``ordered``: they are known to stand from left to right."""

    words: list[Word]
    box: Box
    height: float | None = None
    ordered: bool = False


JoinRows = Callable[[Sequence[Segment], float], list[Segment]]
OrderBlocks = Callable[[Sequence[Block]], list[Block]]
HiddenColumns = Callable[[list[Block], float, bool], list[Block] | None]
"""(blocks, least width of a gutter in pixels, right to left) -> the blocks in reading order, None without columns."""


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around all."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return (min(x0), min(y0), max(x1), max(y1))


def is_cjk(character: str) -> bool:
    """Scripts written without blanks between words: Han, kana and their punctuation."""
    code = ord(character)
    return (
        0x2E80 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0xFF00 <= code <= 0xFFEF or 0x20000 <= code <= 0x3FFFF
    )


def is_right_to_left(text: str) -> bool:
    """Mostly Arabic or Hebrew letters."""
    if text.isascii():
        return False
    kinds = [unicodedata.bidirectional(character) for character in text]
    right, left = sum(kind in ("R", "AL") for kind in kinds), kinds.count("L")
    return right > left


def join_words(texts: Sequence[str]) -> str:
    """Join with blanks, except between two CJK characters.

    >>> join_words(["two", "words"]), join_words(["\\u4e2d\\u6587", "\\u6587\\u672c"])
    ('two words', '\\u4e2d\\u6587\\u6587\\u672c')
    """
    joined = " ".join(texts)
    if joined.isascii():
        return joined
    result = ""
    for text in texts:
        if result and text and not (is_cjk(result[-1]) and is_cjk(text[0])):
            result += " "
        result += text
    return result


def make_lines(
    words: Sequence[Word], page_width: float, whole_rows: bool = False, join: JoinRows | None = None
) -> list[Line]:
    """Lines of a page, roughly top to bottom. ``whole_rows`` (cards) joins everything on one baseline, whatever the
    gaps; else ``join`` joins the cells of table rows (None: three or more narrow segments)."""
    segments = _merge_rows(_segments(words), whole_rows)
    if not whole_rows:
        segments = (join or _table_rows)(segments, page_width)
    return [_line(segment) for segment in segments]


def centre(box: Box) -> float:
    """Half way down."""
    return (box[1] + box[3]) / 2


def same_baseline(a: Box, b: Box) -> bool:
    """Do the middles of two boxes lie within half the height of the flatter one?"""
    return abs(centre(a) - centre(b)) < 0.5 * min(a[3] - a[1], b[3] - b[1])


def _segments(words: Sequence[Word]) -> list[Segment]:
    """Runs of words that follow each other in the file on one baseline (``same_baseline``) without a wide gap,
    decided for all neighbours at once: a page has some hundred words."""
    if not words:
        return []
    flat = np.fromiter(chain.from_iterable(word.box for word in words), dtype=np.float64, count=4 * len(words))
    x0, y0, x1, y1 = np.ascontiguousarray(flat.reshape(-1, 4).T)
    tall, middle = y1 - y0, (y0 + y1) / 2
    height = np.minimum(tall[1:], tall[:-1])
    gap = np.maximum(x0[:-1] - x1[1:], x0[1:] - x1[:-1])
    joined = np.abs(middle[1:] - middle[:-1]) < 0.5 * height
    joined &= (-0.5 * height < gap) & (gap < SPLIT_GAP * height)
    starts = np.concatenate([[0], np.flatnonzero(~joined) + 1])
    corners = [np.minimum.reduceat(side, starts).tolist() for side in (x0, y0)]
    corners += [np.maximum.reduceat(side, starts).tolist() for side in (x1, y1)]
    lowest, tallest = np.minimum.reduceat(tall, starts), np.maximum.reduceat(tall, starts)
    heights = [
        height if same else None for height, same in zip(tallest.tolist(), (lowest == tallest).tolist(), strict=True)
    ]
    back = np.concatenate([[False], x0[1:] < x0[:-1]])
    back[starts] = False
    ordered = ~np.logical_or.reduceat(back, starts)
    ends = [*starts[1:].tolist(), len(words)]
    spans = zip(starts.tolist(), ends, zip(*corners, strict=True), heights, ordered.tolist(), strict=True)
    return [Segment(list(words[a:b]), box, height, known) for a, b, box, height, known in spans]


def _merge_rows(segments: list[Segment], whole_rows: bool) -> list[Segment]:
    """Join neighbours on one baseline that came apart in the file."""
    boxes = [segment.box for segment in segments]
    middles, halves = [centre(box) for box in boxes], [0.5 * (box[3] - box[1]) for box in boxes]
    rows: list[list[int]] = []
    for index in sorted(range(len(segments)), key=middles.__getitem__):
        middle, half = middles[index], halves[index]
        for row in rows[-3:]:  # ``same_baseline``
            if abs(middles[row[0]] - middle) < min(halves[row[0]], half):
                row.append(index)
                break
        else:
            rows.append([index])
    merged: list[Segment] = []
    for row in rows:
        row.sort(key=lambda i: boxes[i][0])
        merged.append(segments[row[0]])
        for index in row[1:]:
            box, reach = boxes[index], merged[-1].box
            height = min(box[3] - box[1], reach[3] - reach[1])
            gap = max(box[0] - reach[2], reach[0] - box[2])  # negative when they overlap
            if whole_rows or -0.5 * height < gap < JOIN_GAP * height:
                merged[-1] = join_segments([merged[-1], segments[index]])
            else:
                merged.append(segments[index])
    return merged


def join_segments(pieces: Sequence[Segment]) -> Segment:
    """The pieces as one."""
    return Segment([word for piece in pieces for word in piece.words], union([piece.box for piece in pieces]))


def _table_rows(segments: list[Segment], page_width: float) -> list[Segment]:
    """Join the cells of a table row: three or more narrow segments on one baseline."""
    rows: list[list[Segment]] = []
    for segment in segments:
        if rows and same_baseline(rows[-1][0].box, segment.box):
            rows[-1].append(segment)
        else:
            rows.append([segment])
    result = []
    for row in rows:
        if len(row) >= TABLE_CELLS and sum(s.box[2] - s.box[0] for s in row) / len(row) < 0.2 * page_width:
            result.append(join_segments(sorted(row, key=_left)))
        else:
            result += row
    return result


def _line(segment: Segment) -> Line:
    words, height = segment.words, segment.height
    if height is None:
        heights = sorted([word.box[3] - word.box[1] for word in words])
        height = heights[len(heights) // 2]
    if is_right_to_left("".join([word.text for word in words])):
        words = _right_to_left(words)
    elif not segment.ordered:
        words = sorted(words, key=_left)
    return Line(tuple(words), segment.box, height)


def _left(piece: Word | Segment) -> float:
    return piece.box[0]


def _right_to_left(words: Sequence[Word]) -> list[Word]:
    """Logical order: from right to left, with runs of left-to-right words turned back."""

    def turned(word: Word) -> bool:
        kinds = {unicodedata.bidirectional(character) for character in word.text}
        return "L" in kinds and not kinds & {"R", "AL"}

    runs = groupby(sorted(words, key=lambda word: -word.box[2]), turned)
    return [word for back, run in runs for word in (reversed(list(run)) if back else run)]


def make_blocks(lines: Sequence[Line], order_blocks: OrderBlocks | None = None) -> list[Block]:
    """Paragraphs: lines under each other with small gaps, similar heights and a common column. In ``reading_order``, or
    as ``order_blocks`` says."""
    ordered = sorted(lines, key=lambda line: (line.box[1], line.box[0]))
    return (order_blocks or reading_order)([block_of(chain) for chain in chains(ordered, LINE_GAP, _continues)])


def block_of(lines: Sequence[Line]) -> Block:
    return Block(tuple(lines), union([line.box for line in lines]))


class _Placed(Protocol):
    @property
    def box(self) -> Box: ...

    @property
    def height(self) -> float: ...


P = TypeVar("P", bound=_Placed)


def chains(ordered: Sequence[P], gap: float, follows: Callable[[P, P], bool]) -> list[list[P]]:
    """Pieces ordered from the top, each with the first one below it that ``follows(upper, lower)`` and starts within
    ``gap`` heights under it, and so on."""
    follower: dict[int, int] = {}
    taken: set[int] = set()
    for at, upper in enumerate(ordered):
        lowest = upper.box[3] + gap * upper.height
        for below in range(at + 1, len(ordered)):
            lower = ordered[below]
            if lower.box[1] > lowest:
                break
            if below not in taken and follows(upper, lower):
                follower[at] = below
                taken.add(below)
                break
    found = []
    for at in range(len(ordered)):
        if at not in taken:
            chain = [at]
            while chain[-1] in follower:
                chain.append(follower[chain[-1]])
            found.append([ordered[i] for i in chain])
    return found


def under(upper: _Placed, lower: _Placed) -> bool:
    """Of about one height, mostly in one column, and not beside each other."""
    a, b = upper.box, lower.box
    if centre(b) <= a[3] - 0.3 * upper.height or not 0.74 < upper.height / max(lower.height, 1e-6) < 1.35:
        return False
    return min(a[2], b[2]) - max(a[0], b[0]) > 0.5 * min(a[2] - a[0], b[2] - b[0])


def _continues(upper: Line, lower: Line) -> bool:
    return under(upper, lower) and lower.box[1] - upper.box[3] < LINE_GAP * upper.height


def reading_order(blocks: Sequence[Block]) -> list[Block]:
    """Recursive cuts through white space: columns where a vertical strip is free, else the widest free horizontal
    strip. Columns run right to left when most of the text does."""
    return cut(list(blocks), is_right_to_left("".join([block.text for block in blocks])))


def cut(blocks: list[Block], rtl: bool, hidden: HiddenColumns | None = None) -> list[Block]:
    """Recursive cuts; where no vertical strip is free, ``hidden`` may still find columns."""
    if len(blocks) < 2:
        return blocks
    heights = sorted(line.height for block in blocks for line in block.lines)
    least = 0.6 * heights[len(heights) // 2]
    at = widest_gap([(block.box[0], block.box[2]) for block in blocks], least)
    if at is not None:
        left = [block for block in blocks if block.box[2] <= at]
        right = [block for block in blocks if block.box[2] > at]
        first, second = (right, left) if rtl else (left, right)
        return cut(first, rtl, hidden) + cut(second, rtl, hidden)
    if hidden is not None and (found := hidden(blocks, least, rtl)) is not None:
        return found
    at = widest_gap([(block.box[1], block.box[3]) for block in blocks], 0.0)
    if at is not None:
        upper = [block for block in blocks if block.box[3] <= at]
        lower = [block for block in blocks if block.box[3] > at]
        return cut(upper, rtl, hidden) + cut(lower, rtl, hidden)
    return sorted(blocks, key=lambda block: (block.box[1], -block.box[2] if rtl else block.box[0]))


def widest_gap(spans: list[tuple[float, float]], least: float) -> float | None:
    """Middle of the widest strip no span covers, None when none is wider than ``least``."""
    best, at, end = least, None, -math.inf
    for start, stop in sorted(spans):
        if end > -math.inf and start - end > best:
            best, at = start - end, (start + end) / 2
        end = max(end, stop)
    return at
