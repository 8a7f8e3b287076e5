"""Figures out of prediction rows, held against the bars. What a bar does not reach is *not shown*: said, with its
reason, never rounded up and never left out.

The bars are those of the tiny recipe: (1) pooled character error rate of low-corruption regions, not capped, at most
0.5; (2) at least 0.3 less with the right picture than with another's, where the wrong picture's rate is capped at one
error a character and the right one's is not, which is the harder reading of both; (3) for each mode, the lower end of
the 95 % t interval over seeds of the gain by RL above 0 (``gain.py``). Each asks for a number of regions or items and, for
RL, of seeds.
"""

from __future__ import annotations

import math
import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from model.evaluation.gain import paired_gain
from model.evaluation.metrics import Reading, error_rate
from model.evaluation.predictions import AnswerRow, RegionRow

LEVELS = ("low", "moderate", "high")
MODES = ("short", "long")
MAX_CER_LOW, MIN_DIFFERENCE, MIN_REGIONS, MIN_ITEMS, MIN_SEEDS = 0.5, 0.3, 500, 400, 3


def reading_figures(rows: Sequence[RegionRow]) -> dict[str, dict[str, float]]:
    """Per level (and ``all``): regions, cer, cer_capped, cer_wrong (capped), difference, exact, missing and the
    teacher-forced figures ``forced_accuracy`` (characters) and ``forced_nll`` (nats a character). Rates are NaN where
    nothing was measured."""
    figures = {}
    for level in (*LEVELS, "all"):
        chosen = [row for row in rows if level in (row.level, "all")]
        right = [row for row in chosen if row.picture == "right"]
        wrong = [row for row in chosen if row.picture == "wrong"]
        if not right:
            continue
        forced = [row for row in right if row.forced_chars]
        chars = sum(row.forced_chars or 0 for row in forced)
        cer, cer_wrong = error_rate(_readings(right)), error_rate(_readings(wrong), capped=True)
        figures[level] = {
            "regions": len(right),
            "characters": sum(row.length for row in right),
            "cer": cer,
            "cer_capped": error_rate(_readings(right), capped=True),
            "cer_wrong": cer_wrong,
            "difference": cer_wrong - cer,
            "exact": _mean(row.edits == 0 for row in right),
            "missing": _mean(row.prediction is None for row in right),
            "forced_accuracy": sum(row.forced_correct or 0 for row in forced) / chars if chars else math.nan,
            "forced_nll": sum(row.forced_nll or 0.0 for row in forced) / chars if chars else math.nan,
        }
    return figures


def question_figures(rows: Sequence[AnswerRow], draws: int, seed: int) -> dict[str, Any]:
    """Per mode: ``models`` (items, accuracy, verdicts, tokens, accuracy by question kind) and, when models called
    ``rl-seed-*`` answered the same items as ``sft``, ``gain``: the fields of ``Gain``, ``by_seed`` under their
    names."""
    figures: dict[str, Any] = {}
    for mode in MODES:
        by_model: dict[str, dict[str, AnswerRow]] = defaultdict(dict)
        for row in rows:
            if row.mode == mode:
                by_model[row.model][row.key] = row
        if not by_model:
            continue
        models = {name: _answers(list(found.values())) for name, found in sorted(by_model.items())}
        seeds = sorted(name for name in by_model if name.startswith("rl-seed-"))
        entry: dict[str, Any] = {"models": models}
        shared = (
            sorted(set.intersection(*(set(by_model[name]) for name in ("sft", *seeds)))) if "sft" in by_model else []
        )
        if seeds and shared:
            before = [_score(by_model["sft"][key]) for key in shared]
            after = [[_score(by_model[name][key]) for key in shared] for name in seeds]
            gain = paired_gain(before, after, draws, seed)
            entry["gain"] = asdict(gain) | {"by_seed": dict(zip(seeds, gain.by_seed, strict=True))}
        figures[mode] = entry
    return figures


def bars(reading: dict[str, dict[str, float]], questions: dict[str, Any]) -> list[dict[str, Any]]:
    """One record a bar: name, title, value, ``printed`` (what every page prints for it), bar, n, shown, and ``why`` when
    it is not shown."""
    low = reading.get("low", {})
    regions = int(low.get("regions", 0))
    few = f"{regions} low regions, {MIN_REGIONS} are asked for" if regions < MIN_REGIONS else ""
    cer, difference = low.get("cer", math.nan), low.get("difference", math.nan)
    less = "less with the right picture than with another's, low corruption"
    result = [
        _bar("cer_low", "character error rate, low corruption", cer, "<=", MAX_CER_LOW, regions, few),
        _bar("cer_difference_low", less, difference, ">=", MIN_DIFFERENCE, regions, few),
    ]
    for mode in MODES:
        gain = questions.get(mode, {}).get("gain")
        items, seeds, lower = (gain["items"], gain["seeds"], gain["lower"]) if gain else (0, 0, math.nan)
        why = []
        if items < MIN_ITEMS:
            why.append(f"{items} items, {MIN_ITEMS} are asked for")
        if seeds == 1:
            why.append(f"one seed, which has no interval; {MIN_SEEDS} are asked for")
        elif seeds < MIN_SEEDS:
            why.append(f"{seeds} seeds, {MIN_SEEDS} are asked for")
        elif math.isnan(lower):
            why.append(f"all {seeds} seeds gained the same, which has no interval")
        title = f"gain of RL in {mode} mode on {items} items, lower end of the 95 % t interval over seeds"
        result.append(_bar(f"gain_lower_{mode}", title, lower, ">", 0, seeds, "; ".join(why)))
    return result


def printed(value: float, sense: str, limit: float) -> str:
    """Three significant digits, or as many more as it takes to see on which side of the limit the value lies.

    ``printed(0.0004, ">", 0) == "0.000400"`` and ``printed(0.50004, "<=", 0.5) == "0.50004"``; ``-`` for NaN."""
    if not math.isfinite(value):
        return "-"
    true = _SENSES[sense](value, limit)
    tries = (f"{value:#.{digits}g}" for digits in range(3, 17))
    return next((text for text in tries if _SENSES[sense](float(text), limit) == true), repr(value))


def flat_metrics(
    reading: dict[str, dict[str, float]], questions: dict[str, Any], held: list[dict[str, Any]]
) -> dict[str, float]:
    """Finite figures under the names MLflow shows: ``eval/cer/low``, ``eval/accuracy/short/sft``,
    ``eval/gain_lower/long``."""
    found: dict[str, float] = {}
    names = {"cer": "cer", "cer_wrong": "cer_wrong_picture", "difference": "cer_difference", "exact": "exact"}
    names |= {
        "forced_accuracy": "forced_accuracy",
        "forced_nll": "forced_nll",
        "missing": "missing",
        "regions": "regions",
    }
    for level, figures in reading.items():
        found.update({f"eval/{shown}/{level}": figures[name] for name, shown in names.items()})
    for mode, entry in questions.items():
        for model, figures in entry["models"].items():
            found[f"eval/accuracy/{mode}/{model}"] = figures["accuracy"]
            found[f"eval/answer_tokens/{mode}/{model}"] = figures["tokens"]
        if "gain" in entry:
            seeds = [figures["accuracy"] for model, figures in entry["models"].items() if model.startswith("rl-seed-")]
            found[f"eval/accuracy/{mode}/rl"] = sum(seeds) / len(seeds)
            found[f"eval/gain/{mode}"] = entry["gain"]["mean"]
            found.update({f"eval/gain_{end}/{mode}": entry["gain"][end] for end in _GAIN_ENDS})
    found["eval/bars_shown"] = float(sum(bar["shown"] for bar in held))
    found["eval/bars"] = float(len(held))
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


_GAIN_ENDS = ("lower", "upper", "items_lower", "items_upper")
_SENSES = {"<=": operator.le, ">=": operator.ge, ">": operator.gt}


def _bar(name: str, title: str, value: float, sense: str, limit: float, n: int, few: str) -> dict[str, Any]:
    measured, reached = math.isfinite(value), _SENSES[sense](value, limit)
    text, bar = printed(value, sense, limit), f"{sense} {limit}"
    return {
        "name": name,
        "title": title,
        "value": value if measured else None,
        "printed": text,
        "bar": bar,
        "n": n,
        "shown": reached and not few,
        "why": few or ("" if reached else f"{text} is not {bar}" if measured else "not measured"),
    }


def _answers(rows: list[AnswerRow]) -> dict[str, Any]:
    kinds: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        kinds[row.question_kind].append(_score(row))
    return {
        "items": len(rows),
        "accuracy": _mean(_score(row) for row in rows),
        "verdicts": dict(sorted(Counter(row.verdict for row in rows).items())),
        "tokens": _mean(row.completion_tokens for row in rows),
        "finished": _mean(row.finished for row in rows),
        "by_kind": {kind: _mean(scores) for kind, scores in sorted(kinds.items())},
    }


def _readings(rows: Iterable[RegionRow]) -> Iterable[Reading]:
    return (Reading(row.edits, row.length) for row in rows)


def _score(row: AnswerRow) -> float:
    return 1.0 if row.verdict == "correct" else 0.0


def _mean(values: Iterable[float]) -> float:
    found = [float(value) for value in values]
    return sum(found) / len(found) if found else math.nan
