"""Pages from the templates of this folder (Jinja2, everything escaped): what they all share."""

from __future__ import annotations

import base64
import math
import time
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cookhouse.cli.words import duration, size


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("cookhouse", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        clock=lambda when: time.strftime("%H:%M:%S", time.localtime(when)),
        date=lambda when: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)),
        duration=duration,
        size=size,
        number=number,
        signed=lambda value: f"{value:+#.3g}" if math.isfinite(value) else "none",
        inline=inline,
    )
    return made


def render(template: str, **values: Any) -> str:
    """The page ``{template}.html`` filled with ``values``; one that it asks for and is not given is an error."""
    return _environment().get_template(f"{template}.html").render(values)


def number(value: float | None, digits: int = 3) -> str:
    """``0.306``, ``240``, ``-`` for what is not there or not finite."""
    if value is None or not math.isfinite(value):
        return "-"
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else f"{value:.{digits}f}"


def inline(picture: bytes) -> str:
    """A JPEG or PNG as the address of an image that lies in the page itself."""
    kind = "png" if picture[:4] == b"\x89PNG" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
