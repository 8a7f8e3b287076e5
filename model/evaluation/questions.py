"""Task ``questions``: short answers in each reasoning mode, and what reinforcement learning gained over where it began."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from model.answers import parse_answer
from model.chat import Mode
from model.evaluation.gain import paired_gain
from model.evaluation.metrics import judge
from model.evaluation.rows import Row
from model.evaluation.select import fair_order, refuse_all_but_test
from model.evaluation.task import Asked, Said, mean
from pipelines.shards.index import SampleRef
from pipelines.shards.read import read_json

MODES = ("short", "long")


@dataclass(frozen=True)
class QuestionTask:
    """At most ``items`` test questions of each mode in fair order. ``before`` and ``after`` name the models that are
    compared: every model called ``{after}`` or ``{after}-seed-N`` with ``before``, over the items that all answered."""

    items: int
    seed: int
    before: str = ""
    after: str = ""
    draws: int = 10_000
    name: str = "questions"
    forced: tuple[str, ...] = ()
    every_model: bool = True

    def select(self, refs: Sequence[SampleRef]) -> list[Asked]:
        """The mode is the sample's tag when it has one, else its JSON."""
        refuse_all_but_test(refs)
        found: dict[str, list[Asked]] = {mode: [] for mode in MODES}
        for ref in fair_order(refs, self.seed):
            if all(len(part) >= self.items for part in found.values()):
                break
            mode = next((tag for tag in ref.tags if tag in found), None) or read_json(ref)["mode"]
            if mode in found and len(found[mode]) < self.items:
                found[mode].append(Asked(ref, ref, mode))
        return [asked for part in found.values() for asked in part]

    def prompt(self, sample: Mapping[str, Any]) -> tuple[Sequence[Any], Mode]:
        return sample["messages"][:-1], sample["mode"]

    def score(self, model: str, asked: Asked, sample: Mapping[str, Any], said: Said) -> list[Row]:
        """One row: ``correct`` 1 or 0, with the verdict, the question and the thought beside it."""
        meta, ref = sample["meta"], asked.ref
        thought, answer = parse_answer(said.text, asked.variant, said.finished)
        question = "".join(part["text"] for part in sample["messages"][-2]["content"] if part["type"] == "text")
        verdict = judge(answer, str(meta["answer"]), meta["verifier"])
        names = (self.name, model, asked.variant, ref.dataset, ref.key, asked.shown.key)
        item = f"{ref.source_digest[:12]}-{ref.item}"
        told = (item, meta["question_kind"], str(meta["answer"]), answer, said.tokens, said.finished)
        about = {"question": question.strip(), "verdict": verdict, "verifier": meta["verifier"], "thought": thought}
        return [Row(*names, *told, {"correct": float(verdict == "correct")}, about)]

    def aggregate(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Per mode: ``models`` (items, accuracy, verdicts, tokens, accuracy by question kind) and, where models were
        compared, ``gain``: the fields of ``Gain``, ``by_seed`` under their names, ``after`` the name of what gained."""
        figures: dict[str, Any] = {}
        for mode in MODES:
            by_model: dict[str, dict[tuple[str, str], Row]] = defaultdict(dict)
            for row in rows:
                if row.variant == mode:
                    by_model[row.model][row.sample] = row
            if by_model:
                models = {name: _answers(list(found.values())) for name, found in sorted(by_model.items())}
                figures[mode] = {"models": models, **self._gain(by_model)}
        return figures

    def _gain(self, by_model: Mapping[str, Mapping[tuple[str, str], Row]]) -> dict[str, Any]:
        seeds = sorted(name for name in by_model if re.fullmatch(rf"{re.escape(self.after)}(-seed-\d+)?", name))
        if self.before not in by_model or not self.after or not seeds:
            return {}
        compared = [by_model[name] for name in (self.before, *seeds)]
        shared = sorted(set.intersection(*map(set, compared)))
        if not shared:
            return {}
        before, *after = ([answers[sample].scores["correct"] for sample in shared] for answers in compared)
        gain = paired_gain(before, after, self.draws, self.seed)
        same = "one seed, which has no interval" if len(seeds) == 1 else f"all {len(seeds)} seeds gained the same"
        why = "" if gain.lower == gain.lower else same + (", which has no interval" if len(seeds) > 1 else "")
        by_seed = dict(zip(seeds, gain.by_seed, strict=True))
        return {"gain": asdict(gain) | {"by_seed": by_seed, "after": self.after, "before": self.before, "why": why}}

    def metrics(self, figures: Mapping[str, Any]) -> dict[str, float]:
        """``eval/accuracy/short/sft``, ``eval/gain_lower/long`` ..."""
        found: dict[str, float] = {}
        for mode, entry in figures.items():
            for model, values in entry["models"].items():
                found[f"eval/accuracy/{mode}/{model}"] = values["accuracy"]
                found[f"eval/answer_tokens/{mode}/{model}"] = values["tokens"]
            if gain := entry.get("gain"):
                after = mean(entry["models"][name]["accuracy"] for name in gain["by_seed"])
                found[f"eval/accuracy/{mode}/{gain['after']}"] = after
                found[f"eval/gain/{mode}"] = gain["mean"]
                for end in ("lower", "upper", "items_lower", "items_upper"):
                    found[f"eval/gain_{end}/{mode}"] = gain[end]
        return found


def _answers(rows: Sequence[Row]) -> dict[str, Any]:
    kinds: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        kinds[row.group].append(row.scores["correct"])
    return {
        "items": len(rows),
        "accuracy": mean(row.scores["correct"] for row in rows),
        "verdicts": dict(sorted(Counter(row.about["verdict"] for row in rows).items())),
        "tokens": mean(row.tokens for row in rows),
        "finished": mean(row.finished for row in rows),
        "by_kind": {kind: mean(scores) for kind, scores in sorted(kinds.items())},
    }
