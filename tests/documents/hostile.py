"""PDFs made to cost time or memory, written by hand object by object: each has one page that harms, or all of them do."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

BOX = b"/MediaBox[0 0 420 595]"
FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def stream(data: bytes, entries: bytes = b"", packed: bool = False) -> bytes:
    """A stream object; ``packed`` compresses its data."""
    if packed:
        data, entries = zlib.compress(data, 9), entries + b"/Filter/FlateDecode"
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(data), data)


def pdf(pages: Sequence[tuple[bytes, bytes]], others: dict[int, bytes]) -> bytes:
    """A file of pages (resources, content stream object) and further objects by number, from 1000 on."""
    objects = {1: b"<</Type/Catalog/Pages 2 0 R>>", 3: FONT, **others}
    kids = []
    for index, (resources, content) in enumerate(pages):
        page, body = 10 + 2 * index, 11 + 2 * index
        kids.append(b"%d 0 R" % page)
        objects[page] = b"<</Type/Page/Parent 2 0 R%s/Resources<</Font<</F 3 0 R>>%s>>/Contents %d 0 R>>" % (
            BOX,
            resources,
            body,
        )
        objects[body] = content
    objects[2] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(kids), len(kids))
    data, places = bytearray(b"%PDF-1.7\n"), {}
    for number in sorted(objects):
        places[number] = len(data)
        data += b"%d 0 obj\n%s\nendobj\n" % (number, objects[number])
    size, table = max(objects) + 1, len(data)
    data += b"xref\n0 1\n0000000000 65535 f \n"
    for number, place in sorted(places.items()):
        data += b"%d 1\n%010d 00000 n \n" % (number, place)
    return bytes(data + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, table))


def good_page(number: int) -> tuple[bytes, bytes]:
    """Six lines of text."""
    lines = b"".join(
        b"BT /F 11 Tf 40 %d Td (Page %d line %d has words that a reader of the page can read) Tj ET\n"
        % (540 - 16 * line, number, line)
        for line in range(6)
    )
    return b"", stream(lines)


Harm = tuple[tuple[bytes, bytes], dict[int, bytes]]
"""A page, and the objects it needs."""


def nested_forms(wide: int = 12, deep: int = 12) -> Harm:
    """A form that draws another twelve times, and so on: 12^12 squares."""
    objects = {}
    for level in range(deep):
        last = level == deep - 1
        inner = b"0 0 5 5 re f " if last else b"/X Do " * wide
        more = b"" if last else b"/Resources<</XObject<</X %d 0 R>>>>" % (1001 + level)
        objects[1000 + level] = stream(inner, b"/Type/XObject/Subtype/Form/BBox[0 0 420 595]" + more)
    return (b"/XObject<</X 1000 0 R>>", stream(b"/X Do ")), objects


def nested_patterns(deep: int = 6) -> Harm:
    """A tile a tenth of a point wide, filled with another such pattern, and so on."""
    objects = {}
    for level in range(deep):
        last = level == deep - 1
        inner = b"0 0 1 1 re f" if last else b"/Pattern cs /P scn 0 0 420 595 re f"
        more = b"<<>>" if last else b"<</Pattern<</P %d 0 R>>>>" % (1001 + level)
        entries = b"/Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 420 595]/XStep .1/YStep .1/Resources"
        objects[1000 + level] = stream(inner, entries + more)
    return (b"/Pattern<</P 1000 0 R>>", stream(b"/Pattern cs /P scn 0 0 420 595 re f")), objects


def long_stream(megabytes: int = 600) -> Harm:
    """Hundreds of megabytes of strokes in a megabyte of file."""
    strokes = b"0 0 m 420 595 l S 3 w\n"
    return (b"", stream(strokes * ((megabytes << 20) // len(strokes)), packed=True)), {}


def deep_arrays(deep: int = 4_000_000) -> Harm:
    """Millions of arrays inside each other."""
    return (b"", stream(b"[" * deep, packed=True)), {}


def deep_states(deep: int = 3_000_000) -> Harm:
    """Millions of saved graphics states, each with a clip."""
    return (b"", stream(b"q 0 0 400 500 re W n " * deep, packed=True)), {}


def image_bomb(side: int = 60_000) -> Harm:
    """A picture of 60,000 x 60,000 pixels in a few kilobytes."""
    row = zlib.compress(bytes(side * 64), 9)
    entries = b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB/BitsPerComponent 8" % (side, side)
    picture = b"<<%s/Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (entries, len(row), row)
    return (b"/XObject<</X 1000 0 R>>", stream(b"420 0 0 595 0 0 cm /X Do")), {1000: picture}


def shading_mesh(count: int = 400_000) -> Harm:
    """A mesh of triangles, each as large as the page."""
    colour = bytes([7, 100, 200])
    data = b"".join(bytes([0, x, y]) + colour for x, y in ((0, 0), (0, 255), (255, 0))) * count
    entries = (
        b"/ShadingType 4/ColorSpace/DeviceRGB/BitsPerCoordinate 8/BitsPerComponent 8/BitsPerFlag 8"
        b"/Decode[0 420 0 595 0 1 0 1 0 1]"
    )
    return (b"/Shading<</S 1000 0 R>>", stream(b"/S sh")), {1000: stream(data, entries, packed=True)}


def dashes(count: int = 4000) -> Harm:
    """Lines across the page in dashes a millionth of a point long."""
    line = b"[.000001 .000001] 0 d 0 %d m 420 %d l S\n"
    return (b"", stream(b"".join(line % (y % 595, 595 - y % 595) for y in range(count)))), {}


HARMS: dict[str, Callable[[], Harm]] = {
    harm.__name__: harm
    for harm in (
        nested_forms,
        nested_patterns,
        long_stream,
        deep_arrays,
        deep_states,
        image_bomb,
        shading_mesh,
        dashes,
    )
}


def among_good_pages(harm: Harm, before: int, after: int) -> bytes:
    """The page that harms between good ones."""
    page, objects = harm
    pages = (
        [good_page(n) for n in range(before)] + [page] + [good_page(n) for n in range(before + 1, before + 1 + after)]
    )
    return pdf(pages, objects)


def only_harm(harm: Harm, pages: int) -> bytes:
    """The page that harms again and again."""
    return pdf([harm[0]] * pages, harm[1])
