"""Scores: character error rate and verdicts on answers. Pure functions over plain values.

*Character error rate* is the Levenshtein distance of code points (Wagner and Fischer 1974: unit costs for insertion,
deletion, substitution) divided by the length of the reference, pooled over regions: sum of distances / sum of lengths.
It is not capped, so a model that rambles is charged for it; ``capped`` charges at most one error per reference
character. Both strings are brought to NFC with runs of blanks made one and ends stripped, because a label is
normalised that way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import Levenshtein

Verdict = Literal["correct", "wrong", "format"]
_LINE = re.compile(r"^\s*(\d{1,3})\s*:[ \t]?(.*)$")
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def normalise(text: str) -> str:
    """NFC, blanks collapsed, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


@dataclass(frozen=True)
class Reading:
    """One region: edits needed and reference length, both in code points after ``normalise``."""

    edits: int
    length: int


def compare_text(prediction: str, truth: str) -> Reading:
    """Edits from ``prediction`` to ``truth``. Raises ValueError for an empty reference, which has no error rate."""
    reference = normalise(truth)
    if not reference:
        raise ValueError("the reference text is empty: its character error rate is undefined")
    return Reading(Levenshtein.distance(normalise(prediction), reference), len(reference))


def error_rate(readings: Iterable[Reading], capped: bool = False) -> float:
    """Pooled character error rate; ``capped`` counts at most ``length`` edits a region. NaN without regions."""
    edits = length = 0
    for reading in readings:
        edits += min(reading.edits, reading.length) if capped else reading.edits
        length += reading.length
    return edits / length if length else float("nan")


def parse_lines(text: str) -> dict[int, str]:
    """``"1: red fox\\n2: 17"`` -> ``{1: "red fox", 2: "17"}``. The first line of a number counts; a line without a
    number belongs to nothing and is left out."""
    found: dict[int, str] = {}
    for line in text.splitlines():
        if match := _LINE.match(line):
            found.setdefault(int(match[1]), match[2].strip())
    return found


def judge(answer: str | None, truth: str, verifier: str) -> Verdict:
    """``exact``: equal after ``normalise``, letter case included. ``number``: the whole answer is one number equal in
    value (``"07"`` is 7, ``"7 words"`` is not a number). ``format``: no answer, or not a number where one is due.

    Raises ValueError for a verifier it does not know."""
    if verifier not in ("exact", "number"):
        raise ValueError(f"unknown verifier {verifier!r}: exact or number")
    said, due = normalise(answer or ""), normalise(truth)
    if not said or (verifier == "number" and not _NUMBER.fullmatch(said)):
        return "format"
    equal = said == due if verifier == "exact" else float(said) == float(due)
    return "correct" if equal else "wrong"
