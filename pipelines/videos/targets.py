"""What is said of a video: texts of its sidecar or of a table, and which clip each belongs to.

Sidecars, the first of them that lies beside ``name.mp4``: ``name.json`` with ``{"captions": ["..."], "questions":
[{"question", "answer"}]}`` (a caption may be ``{"text", "start", "end"}``, a question may have ``start`` and ``end``),
``name.txt`` with one caption, ``name.srt`` with timed lines. A table (``captions.jsonl`` or ``captions.parquet``) has
``{"file", "caption"}`` or ``{"file", "question", "answer"}`` rows, ``start`` and ``end`` optional. Times are seconds.

A video with no text becomes one sample tagged ``unlabelled`` with an empty target; the index leaves it out of training
by default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.core.storage import local_file
from pipelines.shards.index import UNLABELLED

SIDECARS = (".json", ".txt", ".srt")
TABLES = ("captions.jsonl", "captions.parquet")
UNTIMED = "untimed"
"""Tag of clips cut out of a longer video whose text speaks of the whole of it."""
_CUE = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{3})\s*-->\s*(\d+):(\d\d):(\d\d)[,.](\d{3})")
_MARKUP = re.compile(r"<[^>]{1,40}>|\{\\[^}]{1,40}\}")


@dataclass(frozen=True)
class Target:
    """What one sample asks and expects. ``part`` is ``caption``, ``question``, ``cue`` (a subtitle; those of a clip
    become one caption) or ``unlabelled``; ``span`` is (start, end) in seconds of the file."""

    part: str
    prompt: str
    answer: str
    span: tuple[float, float] | None = None


def read_targets(sidecar: str, prompt: str, told: Sequence[Target] = ()) -> list[Target]:
    """``told`` (of a table) first, then the sidecar's captions, then its questions; one ``unlabelled`` target if there
    is no text. Raises ValueError for a sidecar that is not of the documented form."""
    targets = [*told]
    if sidecar:
        path = local_file(sidecar)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"not readable as UTF-8 text: {error}") from error
        if path.suffix == ".srt":
            targets += _cues(text, prompt)
        elif path.suffix == ".txt":
            targets += [Target("caption", prompt, _text(text, "the text file"))]
        else:
            targets += _described(text, prompt)
    return targets or [Target(UNLABELLED, prompt, "")]


def target_of_row(row: Mapping[str, Any], prompt: str) -> Target:
    """A table row as target. Raises ValueError for a row of another form."""
    span = _span(row)
    if row.get("question") is not None:
        return Target("question", _text(row["question"], "question"), _text(row.get("answer"), "answer"), span)
    return Target("caption", prompt, _text(row.get("caption"), "caption"), span)


def targets_within(targets: Sequence[Target], start: float, end: float, whole: bool) -> list[tuple[Target, bool]]:
    """The targets of the clip from ``start`` to ``end`` seconds, each with whether it really speaks of a longer video.

    A timed target belongs to the clip that holds its middle; an untimed one to every clip. Subtitles are joined to one
    caption. Without any the clip is ``unlabelled``."""
    found: list[tuple[Target, bool]] = []
    cues: list[str] = []
    for target in targets:
        if target.span is not None and not whole and not start <= sum(target.span) / 2 < end:
            continue
        if target.part == "cue":
            cues.append(target.answer)
            continue
        found.append((target, target.span is None and not whole and target.part != UNLABELLED))
    if cues:
        prompt = next(target.prompt for target in targets if target.part == "cue")
        found.insert(0, (Target("caption", prompt, " ".join(cues)), False))
    if not found:
        found = [(replace(targets[0], part=UNLABELLED, answer="", span=None), False)]
    return found


def _described(text: str, prompt: str) -> list[Target]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not readable as JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError("not a JSON object")
    captions, questions = content.get("captions", []), content.get("questions", [])
    if not isinstance(captions, list) or not isinstance(questions, list):
        raise ValueError("captions and questions must be lists")
    targets = []
    for caption in captions:
        timed = caption if isinstance(caption, Mapping) else {"text": caption}
        targets.append(Target("caption", prompt, _text(timed.get("text"), "caption"), _span(timed)))
    for question in questions:
        if not isinstance(question, Mapping):
            raise ValueError("a question must be an object with question and answer")
        asked, answer = (_text(question.get(name), name) for name in ("question", "answer"))
        targets.append(Target("question", asked, answer, _span(question)))
    return targets


def _cues(text: str, prompt: str) -> list[Target]:
    """Blocks of SubRip: a number, a line of times, lines of text. Markup is dropped."""
    targets = []
    for block in re.split(r"\r?\n\s*\r?\n", text.strip()):
        lines = block.splitlines()
        place = next((n for n, line in enumerate(lines[:2]) if _CUE.search(line)), None)
        if place is None:
            raise ValueError(f"subtitle block {lines[:1]} has no line of times")
        match = _CUE.search(lines[place])
        assert match is not None
        h1, m1, s1, f1, h2, m2, s2, f2 = map(int, match.groups())
        said = " ".join(_MARKUP.sub("", " ".join(lines[place + 1 :])).split())
        if said:
            span = (h1 * 3600 + m1 * 60 + s1 + f1 / 1000, h2 * 3600 + m2 * 60 + s2 + f2 / 1000)
            targets.append(Target("cue", prompt, said, span))
    return targets


def _span(row: Mapping[str, Any]) -> tuple[float, float] | None:
    start, end = row.get("start"), row.get("end")
    if start is None and end is None:
        return None
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (start, end)):
        raise ValueError(f"start {start!r} and end {end!r} must be seconds")
    if not 0 <= start <= end:  # type: ignore[operator]
        raise ValueError(f"a text cannot last from {start} to {end} s")
    return float(start), float(end)  # type: ignore[arg-type]


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is {value!r}, not a text")
    return value.strip()
