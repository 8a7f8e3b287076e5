"""Which text of a page may be asked for.

On pages, paragraphs are split and merged to a range of tokens; on cards every line is a region.
Boxes are shrunk to the ink, so that neighbours are left alone and strengths can follow the true glyph height.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice

import numpy as np
from numpy.typing import NDArray

from pipelines.corruption.view import TextRegion, overlap
from pipelines.documents.columns import column_order, join_rows, starts_caption
from pipelines.documents.ink import MIN_CONTRAST, contrast, stacked
from pipelines.documents.layout import Block, Box, Layout, Line, Word, block_of, is_cjk, make_blocks, make_lines, union
from pipelines.documents.line_boxes import PAD, tight_boxes
from pipelines.documents.routing import is_broken

LONG = 5  # letters; the narrowest five ("lilli") are not much higher than wide
TALL = 1.3


def tokens(text: str) -> float:
    """Rough token count: a CJK character is one, 4.5 other characters are one."""
    wide = 0 if text.isascii() else sum(map(is_cjk, text))
    return wide + (len(text) - wide) / 4.5


def clean_text(text: str) -> str:
    """NFC, soft hyphens and zero-width marks removed, blanks collapsed."""
    if text.isascii():
        return " ".join(text.split())
    kept = "".join(character for character in text if character not in "\u00ad\u200b\ufeff")
    return " ".join(unicodedata.normalize("NFC", kept).split())


def visible_words(image: NDArray[np.uint8], boxes: NDArray[np.float32], texts: Sequence[str]) -> list[Word]:
    """Words that pass the ink check, in the order given; a word that another one covers is left out, and so is one with
    characters nobody can read off the page (U+FFFD, private use)."""
    good = contrast(image, boxes) >= MIN_CONTRAST
    good &= ~stacked(boxes)
    shown = list(compress(texts, good.tolist()))
    corners = zip(*boxes[good].T.tolist(), strict=True)
    if _plain("".join(shown)) and all(shown):  # most pages
        return list(map(Word, shown, corners))
    words = []
    for text, box in zip(shown, corners, strict=True):
        if not _plain(text):
            text = clean_text(text)
            if any(map(is_broken, text)):
                continue
        if text:
            words.append(Word(text, box))
    return words


def _plain(text: str) -> bool:
    """Printable ASCII without blanks: ``clean_text`` leaves it as it is."""
    return text.isascii() and text.isprintable() and " " not in text


@dataclass(frozen=True)
class Grouped:
    """A region and the lines it was made of."""

    region: TextRegion
    lines: tuple[Line, ...]

    def joined(self, texts: Mapping[Box, str]) -> str:
        """Its text with other words: ``texts`` by box of the word."""
        named = [tuple(Word(texts[word.box], word.box) for word in line.words) for line in self.lines]
        return block_of([replace(line, words=words) for line, words in zip(self.lines, named, strict=True)]).text


def find_regions(
    image: NDArray[np.uint8],
    words: Sequence[Word],
    token_range: tuple[int, int],
    by_line: bool,
    layout: Layout = "columns",
    shrink: bool = True,
) -> list[Grouped]:
    """Regions with their lines, in reading order. ``by_line``: one region a row (cards). Otherwise paragraphs between
    ``token_range`` tokens; if a page has only shorter texts, those. ``layout``: see ``DocumentShards``. ``shrink``
    their boxes to the ink; without, for who wants the text only, they are those of the words."""
    columns = layout == "columns"
    lines = make_lines(_upright(words), image.shape[1], whole_rows=by_line, join=join_rows if columns else None)
    lines = [line for line in lines if len(line.text) <= 3 or not _tall(line, 2.5)]  # several letters up the margin
    if by_line:
        blocks = [Block((line,), line.box) for line in sorted(lines, key=lambda line: line.box[1])]
        return _regions(image, blocks, shrink)
    blocks = _fit(make_blocks(lines, column_order if columns else None), token_range, columns)
    long_enough = [block for block in blocks if tokens(block.text) >= token_range[0]]
    return _regions(image, long_enough or blocks, shrink)


def _upright(words: Sequence[Word]) -> Sequence[Word]:
    """Words without those that stand on their side, of which rows would mix lines. Long words tell by their shape; if most
    of them do, it is the page, and nothing is left."""
    long = [word for word in words if len(word.text) >= LONG]
    sideways = sum(map(_tall, long))
    if not sideways:
        return words
    if 2 * sideways > len(long):
        return []
    return [word for word in words if len(word.text) < LONG or not _tall(word)]


def _tall(piece: Word | Line, times: float = TALL) -> bool:
    """Higher than ``times`` its width."""
    x0, y0, x1, y1 = piece.box
    return y1 - y0 > times * (x1 - x0)


def _fit(blocks: Sequence[Block], token_range: tuple[int, int], captions: bool) -> list[Block]:
    """Split blocks above the range by lines, join short neighbours in one column when nothing lies between them;
    ``captions`` are joined with nothing."""
    least, most = token_range
    pieces: list[Block] = []
    for block in blocks:
        count = int(-(-tokens(block.text) // most))
        per = -(-len(block.lines) // max(1, count))
        for start in range(0, len(block.lines), per):
            pieces.append(block_of(block.lines[start : start + per]))
    result: list[Block] = []
    for piece in pieces:
        if result and tokens(result[-1].text) < least and tokens(result[-1].text) + tokens(piece.text) <= most + least:
            box = union([result[-1].box, piece.box])
            caption = captions and (starts_caption(result[-1].text) or starts_caption(piece.text))
            if not caption and _neighbours(result[-1], piece) and not _hits(box, pieces, (result[-1], piece)):
                result[-1] = Block(result[-1].lines + piece.lines, box)
                continue
        result.append(piece)
    return result


def _neighbours(upper: Block, lower: Block) -> bool:
    a, b = upper.box, lower.box
    shared = min(a[2], b[2]) - max(a[0], b[0])
    height = max(upper.lines[-1].height, lower.lines[0].height)
    return shared > 0.3 * min(a[2] - a[0], b[2] - b[0]) and -0.5 * height < b[1] - a[3] < 1.5 * height


def _hits(box: Box, blocks: Sequence[Block], own: tuple[Block, Block]) -> bool:
    lines = {id(line) for block in own for line in block.lines}
    return any(overlap(box, block.box) for block in blocks if not any(id(line) in lines for line in block.lines))


def _regions(image: NDArray[np.uint8], blocks: Sequence[Block], shrink: bool) -> list[Grouped]:
    result = []
    listed = [line for block in blocks for line in block.lines]
    boxes = iter(tight_boxes(image, listed) if shrink else [line.box for line in listed])
    around = 2 * PAD if shrink else 0
    for block in blocks:
        lines = [box for box in islice(boxes, len(block.lines)) if box is not None]
        if not lines:
            continue
        heights = sorted(box[3] - box[1] - around for box in lines)
        height, width = image.shape[:2]
        x0, y0, x1, y1 = (int(value) for value in union(lines))
        bbox = (max(0, x0), max(0, y0), min(width, x1), min(height, y1))
        region = TextRegion(bbox, block.text, max(4.0, float(heights[len(heights) // 2])), tokens(block.text))
        result.append(Grouped(region, block.lines))
    return result
