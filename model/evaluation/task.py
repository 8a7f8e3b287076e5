"""What an evaluation task is: which samples it takes, how it asks, how an answer is scored, what the scores add up to.

A task is a small frozen record of its settings, so that it travels to workers with the chunks; ``run`` knows no task by
name. ``reading`` and ``questions`` are such tasks; another one is a class with these methods.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from model.chat import Mode
from model.evaluation.rows import Row
from pipelines.shards.index import SampleRef


class Asked(NamedTuple):
    """A sample as it is asked: ``shown`` is the sample whose picture is shown, ``variant`` the way of asking."""

    ref: SampleRef
    shown: SampleRef
    variant: str


@dataclass(frozen=True)
class Said:
    """A decoded completion: text without special tokens, its length in tokens, whether it ended by itself. ``forced``:
    the target's tokens as (text, nats, hit), predicted from the true ones before them, where the task asks for it."""

    text: str
    tokens: int
    finished: bool
    forced: tuple[tuple[str, float, bool], ...] = ()


class Task(Protocol):
    """``forced``: variants whose targets are scored teacher-forced too; ``every_model``: all answer, or the first alone."""

    name: str
    forced: tuple[str, ...]
    every_model: bool

    def select(self, refs: Sequence[SampleRef]) -> list[Asked]:
        """What is asked, of test samples. Raises DataError for a sample of another split."""

    def prompt(self, sample: Mapping[str, Any]) -> tuple[Sequence[Any], Mode]:
        """(messages before the answer, mode) of a sample's JSON."""

    def score(self, model: str, asked: Asked, sample: Mapping[str, Any], said: Said) -> list[Row]: ...

    def aggregate(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Figures, nested; what was not measured is NaN or left out."""

    def metrics(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """The figures that MLflow shows, by name."""


def mean(values: Iterable[float]) -> float:
    """NaN of nothing."""
    found = [float(value) for value in values]
    return sum(found) / len(found) if found else math.nan
