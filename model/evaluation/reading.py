"""Task ``reading``: the numbered text regions of a page, with its own picture and with another's, by corruption level."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.chat import Mode
from model.evaluation.metrics import Reading, compare_text, error_rate, parse_lines
from model.evaluation.rows import Row
from model.evaluation.select import derangement, fair_order, refuse_all_but_test
from model.evaluation.task import Asked, Said, mean
from pipelines.shards.index import SampleRef
from pipelines.shards.read import read_json

_NUMBERED = re.compile(r"^[^\S\n]*(\d+)[^\S\n]*: (.+)$", re.MULTILINE)
LEVELS = ("low", "moderate", "high")
SHOWN = {"cer_wrong": "cer_wrong_picture", "difference": "cer_difference"}
"""Figures that MLflow shows under another name."""


@dataclass(frozen=True)
class ReadingTask:
    """Samples of ``families`` in fair order until they hold ``low_regions`` low-corruption regions, or all.

    Samples without a low region are left out: levels are drawn region by region, so that favours no picture, and it
    saves a third of the decoding. Moderate and high regions are measured where they stand beside a low one."""

    families: tuple[str, ...]
    low_regions: int
    seed: int
    name: str = "reading"
    forced: tuple[str, ...] = ("right",)
    every_model: bool = False

    def select(self, refs: Sequence[SampleRef]) -> list[Asked]:
        """Each sample with its own picture, and with another page's unless one page holds more than half of them."""
        refuse_all_but_test(refs)
        chosen, lines, low = [], [], 0
        for ref in fair_order(refs, self.seed):
            if low >= self.low_regions:
                break
            sample = read_json(ref)
            regions = asked_regions(sample)
            easy = sum(region["level"] == "low" for region in regions)
            if sample["meta"].get("family") in self.families and easy:
                chosen.append(ref)
                lines.append(len(regions))
                low += easy
        return [Asked(ref, ref, "right") for ref in chosen] + wrong_pictures(chosen, lines)

    def prompt(self, sample: Mapping[str, Any]) -> tuple[Sequence[Any], Mode]:
        return sample["messages"][:-1], sample["mode"]

    def score(self, model: str, asked: Asked, sample: Mapping[str, Any], said: Said) -> list[Row]:
        """A row a region: ``edits`` and ``length`` in code points; teacher-forced nats, correct and all characters."""
        lines, forced, rows = parse_lines(said.text), by_line(said.forced), []
        for region in asked_regions(sample):
            number = int(region["index"])
            found = compare_text(lines.get(number, ""), region["text"])
            scores = {"edits": float(found.edits), "length": float(found.length)}
            if number in forced:
                scores |= dict(zip(("forced_nll", "forced_correct", "forced_chars"), forced[number], strict=True))
            ref = asked.ref
            names = (self.name, model, asked.variant, ref.dataset, ref.key, asked.shown.key, str(number))
            told = (region["level"], region["text"], lines.get(number), said.tokens, said.finished)
            rows.append(Row(*names, *told, scores))
        return rows

    def aggregate(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Per level (and ``all``): regions, cer, cer_capped, cer_wrong (capped), difference, exact, missing and the
        teacher-forced figures ``forced_accuracy`` (characters) and ``forced_nll`` (nats a character). Rates are NaN
        where nothing was measured."""
        figures = {}
        for level in (*LEVELS, "all"):
            chosen = [row for row in rows if level in (row.group, "all")]
            right = [row for row in chosen if row.variant == "right"]
            wrong = [row for row in chosen if row.variant == "wrong"]
            if not right:
                continue
            forced = [row.scores for row in right if row.scores.get("forced_chars")]
            chars = sum(scores["forced_chars"] for scores in forced)
            cer, cer_wrong = _rate(right), _rate(wrong, capped=True)
            figures[level] = {
                "regions": len(right),
                "characters": sum(int(row.scores["length"]) for row in right),
                "cer": cer,
                "cer_capped": _rate(right, capped=True),
                "cer_wrong": cer_wrong,
                "difference": cer_wrong - cer,
                "exact": mean(row.scores["edits"] == 0 for row in right),
                "missing": mean(row.said is None for row in right),
                "forced_accuracy": sum(s["forced_correct"] for s in forced) / chars if chars else math.nan,
                "forced_nll": sum(s["forced_nll"] for s in forced) / chars if chars else math.nan,
            }
        return figures

    def metrics(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """``eval/cer/low`` ..."""
        names = ("cer", "cer_wrong", "difference", "exact", "forced_accuracy", "forced_nll", "missing", "regions")
        return {
            f"eval/{SHOWN.get(name, name)}/{level}": values[name] for level, values in figures.items() for name in names
        }


def asked_regions(sample: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The regions whose number stands in the target; the others were not asked for."""
    asked = parse_lines(sample["messages"][-1]["content"])
    return [region for region in sample["meta"]["regions"] if int(region["index"]) in asked]


def wrong_pictures(refs: Sequence[SampleRef], lines: Sequence[int]) -> list[Asked]:
    """Every sample with another page's picture of about as many ``lines``; none where one page holds more than half."""
    pages = [(ref.source_digest, ref.item) for ref in refs]
    if 2 * max(Counter(pages).values(), default=1) > len(pages):
        return []
    return [Asked(ref, refs[other], "wrong") for ref, other in zip(refs, derangement(pages, lines), strict=True)]


def by_line(tokens: Sequence[tuple[str, float, bool]]) -> dict[int, tuple[float, int, int]]:
    """Gather the target tokens (text, nats, hit) of ``"1: red\\n2: fox"`` by line number: nats, characters of right
    tokens and characters of the text after the number. A token's nats are shared among its characters evenly, the number
    and line end are free."""
    chars = [(loss / len(text), hit) for text, loss, hit in tokens for _ in text]
    found = {}
    for line in _NUMBERED.finditer("".join(text for text, _, _ in tokens)):
        nats, hits = zip(*chars[slice(*line.span(2))], strict=True)
        found[int(line[1])] = (sum(nats), sum(hits), len(hits))
    return found


def _rate(rows: Sequence[Row], capped: bool = False) -> float:
    return error_rate((Reading(int(r.scores["edits"]), int(r.scores["length"])) for r in rows), capped)
