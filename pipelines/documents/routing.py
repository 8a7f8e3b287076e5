"""Is a page born-digital, a scan, or mixed? The verdict decides the cost: OCR is some hundred times the text layer.

The text layer is trusted when it is there, visible and made of real characters. Text drawn invisibly is somebody else's
OCR: never a label.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Route = Literal["born_digital", "mixed", "scan", "blank"]


@dataclass(frozen=True)
class Verdict:
    """The route and what it was decided from: ``characters`` (without blanks), share of ``broken`` ones (U+FFFD,
    private use, controls), share ``invisible``, ``image_area`` (0-1), whether the raster shows any ``ink``."""

    route: Route
    characters: int
    broken: float
    invisible: float
    image_area: float
    ink: bool


def is_broken(character: str) -> bool:
    """U+FFFD, private use, unassigned or control characters: no label may hold one."""
    return character == "\ufffd" or unicodedata.category(character) in ("Co", "Cn", "Cc", "Cs")


def route_page(texts: Sequence[str], invisible: float, image_area: float, ink: bool) -> Verdict:
    """Route of one page.

    >>> route_page(["Hello", "world", "of", "pages"], 0.0, 0.0, True).route
    'born_digital'
    >>> route_page([], 0.0, 1.0, True).route, route_page(["7"], 0.0, 0.97, True).route
    ('scan', 'scan')
    """
    whole = "".join(texts)
    characters = len(whole)
    plain = whole.isascii() and whole.isprintable()
    odd = [] if plain else [text for text in texts if not (text.isascii() and text.isprintable())]
    broken = round(sum(sum(map(is_broken, text)) for text in odd) / characters, 4) if characters else 0.0
    route: Route
    if not ink:
        route = "blank"
    elif characters == 0 or broken > 0.3 or invisible > 0.5 or (image_area >= 0.6 and characters < 60):
        route = "scan"
    else:
        route = "mixed" if image_area >= 0.3 else "born_digital"
    return Verdict(route, characters, broken, invisible, image_area, ink)
