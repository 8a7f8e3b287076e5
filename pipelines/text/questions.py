"""Question items to samples: each item once per reasoning mode, over the page or picture it asks about.

A table row: ``{"file": "documents/a.pdf", "page": 3, "kind": "add", "question": "...", "answer": "42", "thought":
"..."}``; ``page`` counts from 0 and is left out for pictures; without ``thought`` the long mode is filtered, not
invented.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError
from pipelines.core.sandbox import Sandbox, SandboxError
from pipelines.shards.plan import SourceItem, Unit
from pipelines.shards.sample import image_content, sample_json, text_content, text_size, turn
from pipelines.shards.unit import Item, write_unit
from pipelines.text.settings import QuestionShards

STAGE = "questions"
NUMBER = re.compile(r"^[-+]?\d+(?:\.\d+)?$")
RETRIED = ("timeout", "crash", "oom")


@dataclass(frozen=True)
class Question:
    """One row of the table. ``number`` tells questions about one page apart."""

    file: str
    page: int
    kind: str
    question: str
    answer: str
    thought: str
    number: int = 0


@dataclass(frozen=True)
class QuestionJob:
    """A unit and all that decides its bytes; ``questions`` are those about the unit's sources, in table order."""

    unit: Unit
    settings: QuestionShards
    questions: tuple[Question, ...]


def read_questions(path: Path) -> list[Question]:
    """All rows of a table in order. Raises DataError for a row without file, question or answer."""
    found: list[Question] = []
    counts: dict[tuple[str, int], int] = {}
    for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row: Mapping[str, Any] = json.loads(line)
            place = (str(row["file"]), int(row.get("page", 0)))
            question, answer = str(row["question"]).strip(), str(row["answer"]).strip()
            if not question or not answer:
                raise ValueError("question or answer is empty")
        except (json.JSONDecodeError, TypeError, KeyError, ValueError) as error:
            raise DataError(
                f"line {line_number} is not a question row",
                where=str(path),
                why=f"{type(error).__name__}: {error}",
                do='rows look like {"file": "a.pdf", "page": 0, "question": "...", "answer": "..."}',
            ) from error
        number = counts.get(place, 0)
        counts[place] = number + 1
        kind, thought = str(row.get("kind", "open")), str(row.get("thought") or "").strip()
        found.append(Question(*place, kind, question, answer, thought, number))
    return found


def build_question_unit(job: QuestionJob, folder: Path) -> dict[str, Any]:
    """Write one unit into ``folder``; the receipt of ``write_unit``. Each page is drawn and encoded once; a bad one
    costs its rows."""
    planned = len(job.questions) * len(job.settings.modes)
    with (
        Sandbox("pipelines.text.render:render_pages", job.settings.deadline_s, job.settings.memory_bytes) as pages,
        Sandbox("pipelines.media.picture:read_picture", job.settings.deadline_s, job.settings.memory_bytes) as pictures,
    ):
        return write_unit(folder, job.unit.name, _items(job, pages, pictures), planned=planned)


def _items(job: QuestionJob, pages: Sandbox, pictures: Sandbox) -> Iterator[Item]:
    by_file: dict[str, list[Question]] = {}
    for question in job.questions:
        by_file.setdefault(question.file, []).append(question)
    for source in job.unit.items:
        asked = by_file.get(source.name, [])
        numbers = tuple(sorted({question.page for question in asked}))
        drawn = _draw(job, source, numbers, pages, pictures)
        for question in asked:
            for mode in job.settings.modes:
                yield _sample(source, question, mode, drawn[question.page])


def _draw(
    job: QuestionJob, source: SourceItem, numbers: tuple[int, ...], pages: Sandbox, pictures: Sandbox
) -> dict[int, Any]:
    """Page -> picture (``jpeg``, ``width``, ``height``) or the SandboxError that took its place."""
    drawn: dict[int, Any] = {}
    if not source.name.lower().endswith(".pdf"):
        try:
            result: Any = pictures.call(source.path, job.settings.max_pixels, 64 * job.settings.max_pixels, 95)
        except SandboxError as error:
            result = error
        return dict.fromkeys(numbers, result)
    waiting = list(numbers)
    while waiting:
        try:
            for page in pages.stream(source.path, tuple(waiting), job.settings.dpi, job.settings.max_pixels):
                drawn[waiting.pop(0)] = page
        except SandboxError as error:
            failed, problem = waiting.pop(0), error
            if error.category in RETRIED:
                try:
                    drawn[failed] = pages.call(source.path, (failed,), job.settings.dpi, job.settings.max_pixels)
                    continue
                except SandboxError as again:
                    problem = again
            drawn[failed] = problem
            if problem.category in ("parse", "encrypted", "source_unavailable"):
                drawn.update(dict.fromkeys(waiting, problem))
                return drawn
    return drawn


def _sample(source: SourceItem, question: Question, mode: str, picture: Any) -> Item:
    key = f"{source.key('q')}-p{question.page:05d}-i{question.number:03d}-{mode}"
    row = replace(source.row(key, STAGE, "question", question.page), tags=(mode, question.kind))
    if isinstance(picture, SandboxError):
        return row.quarantined(picture.category, source.told(picture.message))
    if mode == "long" and not question.thought:
        return row.filtered("empty_text", "no thought for the long mode")
    thought = question.thought if mode == "long" else None
    messages = turn([image_content(), text_content(question.question)], question.answer, thought)
    meta = {
        "source": source.name,
        "source_digest": source.sha256,
        "page": question.page,
        "family": source.family or "user",
        "question_kind": question.kind,
        "answer": question.answer,
        "verifier": "number" if NUMBER.match(question.answer) else "exact",
    }
    parts = {"jpg": picture.jpeg, "json": sample_json(row.kind, row.split, mode, messages, meta)}
    size = text_size(messages)
    return replace(row, views=1, width=picture.width, height=picture.height, text_bytes=size), parts
