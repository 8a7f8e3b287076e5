"""A local HTML page as a picture, with the box of every line of text that can be seen. Runs in the sandbox, in headless
Chromium through Playwright (extra ``html``).

The network is cut off and scripts of the page do not run: a page is its file and what lies beside it. A word is kept when
all of it is inside the picture, the topmost element at its middle is the one that holds it, and its box has ink, so nothing
hidden, covered or white on white becomes a label. Words on one height are a line. Text that a style sheet generates
(``::before``) has no label.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.sandbox import SandboxError
from pipelines.images.drawing import Line
from pipelines.shards.sample import encode_jpeg

_FLAGS = (
    "--disable-gpu",
    "--no-sandbox",
    "--hide-scrollbars",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
)
_WORDS = Path(__file__).with_name("words_shown.js")
"""Every word that can be seen, with its box: run in the page."""
INK = 40
"""Least range of brightness (of 255) in the box of a word that can be read."""
GAP = 0.08
"""Space between words, in heights of a line, below which they are one (a word with a part in bold)."""
_browser: Any = None


@dataclass(frozen=True)
class Page:
    """JPEG bytes, size in pixels, visible lines in the order of the document."""

    jpeg: bytes
    width: int
    height: int
    lines: tuple[Line, ...]


def render_page(path: str, width: int, height: int, executable: str, quality: int) -> Page:
    """The top of a page at ``width`` x ``height`` pixels. Raises SandboxError: ``source_unavailable``, ``render``."""
    from PIL import Image

    browser = _started(executable)
    context = browser.new_context(
        viewport={"width": width, "height": height},
        java_script_enabled=False,
        offline=True,
        locale="en-GB",
        timezone_id="UTC",
    )
    try:
        tab = context.new_page()
        tab.goto(f"file://{path}", wait_until="load", timeout=20_000)
        words = tab.evaluate(_WORDS.read_text(encoding="utf-8").strip())
        shot = tab.screenshot(animations="disabled", caret="hide")
    except Exception as error:  # Playwright has one class for a crash, a time-out and a missing file
        raise SandboxError("render", " ".join(str(error).split())[:300]) from error
    finally:
        context.close()
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    grey = np.asarray(image.convert("L"), np.int16)
    inked = [word for word in words if _has_ink(grey, word)]
    return Page(encode_jpeg(image, quality), image.width, image.height, lines_of(inked))


def _has_ink(grey: np.ndarray, word: list[Any]) -> bool:
    left, top, right, bottom = (int(value) for value in word[1:])
    return bool(np.ptp(grey[top : bottom + 1, left : right + 1]) >= INK)


def lines_of(words: list[list[Any]]) -> tuple[Line, ...]:
    """Neighbouring words (text, left, top, right, bottom) of one height as lines; pieces that touch are one word.

    >>> [line.text for line in lines_of([["a", 0, 0, 9, 10], ["b", 12, 1, 20, 10], ["c", 0, 20, 9, 30]])]
    ['a b', 'c']
    """
    rows: list[list[list[Any]]] = []
    for word in words:
        last = rows[-1][-1] if rows else None
        height = word[4] - word[2]
        if last and abs((word[2] + word[4]) - (last[2] + last[4])) < height and 0 <= word[1] - last[3] < 1.5 * height:
            rows[-1].append(word)
        else:
            rows.append([word])
    lines = []
    for row in rows:
        left, top = min(word[1] for word in row), min(word[2] for word in row)
        right, bottom = max(word[3] for word in row), max(word[4] for word in row)
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        text = row[0][0]
        for before, word in pairwise(row):
            text += (" " if word[1] - before[3] > GAP * (word[4] - word[2]) else "") + word[0]
        lines.append(Line(text, tuple((round(x, 2), round(y, 2)) for x, y in corners)))
    return tuple(lines)


def _started(executable: str) -> Any:
    global _browser
    if _browser is None or not _browser.is_connected():
        from playwright.sync_api import sync_playwright

        _browser = sync_playwright().start().chromium.launch(executable_path=executable, args=list(_FLAGS))
    return _browser
