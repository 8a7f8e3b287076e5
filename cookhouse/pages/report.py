"""The page of an evaluation: bars, figures, and what the models said beside what was there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from cookhouse.pages import kit
from model.evaluation.metrics import normalise
from model.evaluation.rows import Row

COLUMNS = {
    "regions": "regions",
    "cer": "CER",
    "cer_capped": "CER, capped",
    "cer_wrong": "CER, wrong picture",
    "difference": "difference",
    "exact": "exact",
    "missing": "no line",
    "forced_accuracy": "teacher-forced characters",
    "forced_nll": "nats a character",
}


def render(report: Mapping[str, Any], rows: Sequence[Row], pictures: Mapping[tuple[str, str], bytes]) -> str:
    """HTML of ``report`` (the dict of report.json). The gallery shows the samples (dataset, key) of ``pictures``, in
    order."""
    cards = [
        {
            "key": sample[1],
            "data": data,
            "rows": [row for row in rows if row.sample == sample and row.variant != "wrong"],
        }
        for sample, data in pictures.items()
    ]
    return kit.render("report", report=report, figures=report["figures"], columns=COLUMNS, cards=cards, marked=marked)


def marked(prediction: str | None, truth: str) -> Markup:
    """The prediction with what differs from the truth in ``<mark>``; missing characters as a raised dot."""
    if prediction is None:
        return Markup("<i>no line</i>")
    said, reference = normalise(prediction), normalise(truth)
    parts = []
    for tag, start, end, _, _ in difflib.SequenceMatcher(None, said, reference, autojunk=False).get_opcodes():
        text = escape(said[start:end])
        parts.append(text if tag == "equal" else Markup("<mark>{}</mark>").format(text or "·"))
    return Markup("").join(parts)
