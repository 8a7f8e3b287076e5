"""Figures held against the bars of a recipe. What a bar does not reach is *not shown*: said, with its reason, never rounded
up and never left out."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pipelines.core.identity import Record

Sense = Literal["<=", ">=", ">"]
SENSES = {"<=": operator.le, ">=": operator.ge, ">": operator.gt}


class Need(Record):
    """At least ``least`` of something (``of``: ``low regions``), which ``figure`` counts."""

    figure: str
    least: int
    of: str


class Bar(Record):
    """``figure`` is a dotted path into the figures by task (``reading.low.cer``, ``questions.short.gain.lower``), held
    against ``limit``; shown only where every need is met too."""

    name: str
    title: str
    figure: str
    sense: Sense
    limit: float
    needs: tuple[Need, ...] = ()


def hold(bars: Sequence[Bar], figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One record a bar: name, title, value, ``printed`` (what every page prints for it), bar, n, shown, and ``why`` when
    it is not shown."""
    return [_hold(bar, figures) for bar in bars]


def _hold(bar: Bar, figures: Mapping[str, Any]) -> dict[str, Any]:
    value = _at(figures, bar.figure)
    value = math.nan if value is None else float(value)
    measured, reached = math.isfinite(value), SENSES[bar.sense](value, bar.limit)
    counts = [int(_at(figures, need.figure) or 0) for need in bar.needs]
    few = [_few(count, need) for count, need in zip(counts, bar.needs, strict=True) if count < need.least]
    beside = _at(figures, f"{bar.figure.rpartition('.')[0]}.why") or "not measured"
    if few and "no interval" in beside and 1 in counts:
        few = [text.replace("one seed,", f"{beside};") for text in few]
    text, held = printed(value, bar.sense, bar.limit), f"{bar.sense} {bar.limit:g}"
    return {
        "name": bar.name,
        "title": bar.title,
        "value": value if measured else None,
        "printed": text,
        "bar": held,
        "n": counts[-1] if counts else None,
        "shown": reached and not few,
        "why": "; ".join(few) or ("" if reached else f"{text} is not {held}" if measured else beside),
    }


def _few(count: int, need: Need) -> str:
    return f"{f'one {need.of[:-1]}' if count == 1 else f'{count} {need.of}'}, {need.least} are asked for"


def _at(figures: Any, path: str) -> Any:
    """The value a dotted path leads to, None where it leads nowhere."""
    for name in path.split("."):
        figures = figures.get(name) if isinstance(figures, Mapping) else None
    return figures


def printed(value: float, sense: str, limit: float) -> str:
    """Three significant digits, or as many more as it takes to see on which side of the limit the value lies.

    ``printed(0.0004, ">", 0) == "0.000400"`` and ``printed(0.50004, "<=", 0.5) == "0.50004"``; ``-`` for NaN."""
    if not math.isfinite(value):
        return "-"
    true = SENSES[sense](value, limit)
    tries = (f"{value:#.{digits}g}" for digits in range(3, 17))
    return next((text for text in tries if SENSES[sense](float(text), limit) == true), repr(value))
