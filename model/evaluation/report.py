"""The page for people: bars, figures, and what the model said beside what was there. One file, no script, no
network."""

from __future__ import annotations

import base64
import difflib
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.evaluation.metrics import normalise
from model.evaluation.predictions import AnswerRow, RegionRow


@dataclass(frozen=True)
class Picture:
    """A test picture of the gallery: encoded bytes and their media type."""

    data: bytes
    media: str = "image/jpeg"


def render_report(
    report: Mapping[str, Any],
    reading: Sequence[RegionRow],
    answers: Sequence[AnswerRow],
    pictures: Mapping[str, Picture],
) -> str:
    """HTML of ``report`` (the dict of report.json). The gallery shows the samples whose key is in ``pictures``, in
    order."""
    body = "".join(
        [
            f"<header><h1>Evaluation</h1><p class=sub>{_text(report['title'])}</p></header>",
            _bars(report["bars"]),
            _reading(report["reading"]),
            _questions(report["questions"]),
            _gallery(reading, answers, pictures),
            f"<footer>{_text(report['notes'])}</footer>",
        ]
    )
    head = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    return f"{head}<title>Evaluation</title><style>{_STYLE}</style><body>{body}</body></html>"


def _bars(bars: Iterable[Mapping[str, Any]]) -> str:
    cards = []
    for bar in bars:
        kind, state = ("yes", "shown") if bar["shown"] else ("no", "not shown")
        value = f"<div class=value>{_text(bar['printed'])}<small> {_text(bar['bar'])}</small></div>"
        why = "" if bar["shown"] else f"<p class=why>{_text(bar['why'])}</p>"
        title = f"<p>{_text(bar['title'])}, n = {bar['n']}</p>"
        cards.append(f"<div class='card {kind}'><span class=state>{state}</span>{value}{title}{why}</div>")
    return f"<section><h2>Bars</h2><div class=cards>{''.join(cards)}</div></section>"


_READING_COLUMNS = {
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


def _reading(figures: Mapping[str, Mapping[str, float]]) -> str:
    if not figures:
        return ""
    rows, strips = [], []
    for level, values in figures.items():
        rows.append([_text(level), *(_number(values[name]) for name in _READING_COLUMNS)])
        pair = _strip(values["cer_capped"], "right") + _strip(values["cer_wrong"], "wrong")
        strips.append(f"<div class=row><span>{_text(level)}</span><div class=track>{pair}</div></div>")
    return (
        "<section><h2>Reading test cards</h2><p>Greedy, free-running. Character error rate of each corruption level "
        "(both capped at one error a character): <b class=right>right picture</b>, "
        f"<b class=wrong>another's picture</b>.</p><div class=strips>{''.join(strips)}</div>"
        f"{_table(['level', *_READING_COLUMNS.values()], rows)}</section>"
    )


def _questions(figures: Mapping[str, Any]) -> str:
    parts = []
    for mode, entry in figures.items():
        kinds = sorted({kind for model in entry["models"].values() for kind in model["by_kind"]})
        rows = []
        for name, model in entry["models"].items():
            by_kind = [_number(model["by_kind"].get(kind)) for kind in kinds]
            no_answer, tokens = str(model["verdicts"].get("format", 0)), _number(model["tokens"], 1)
            accuracy = f"<b>{_number(model['accuracy'])}</b>"
            rows.append([_text(name), str(model["items"]), accuracy, *by_kind, no_answer, tokens])
        line = "<p>No RL model was given.</p>"
        if gain := entry.get("gain"):
            line = (
                f"<p>Gain by RL <b>{_signed(gain['mean'])}</b> ({gain['items']} items, seeds: {gain['seeds']}), "
                f"with 95 % intervals:</p><ul><li>{_interval(gain['lower'], gain['upper'])} for another seed of RL on "
                "these same items (t interval over seeds, the one of the bar)</li>"
                f"<li>{_interval(gain['items_lower'], gain['items_upper'])} for other items like these and these very "
                "runs (paired bootstrap over items)</li></ul>"
            )
        heads = ["model", "items", "accuracy", *map(_text, kinds), "no answer", "tokens"]
        parts.append(f"<h3>{_text(mode)} mode</h3>{line}{_table(heads, rows)}")
    return f"<section><h2>Questions</h2>{''.join(parts)}</section>" if parts else ""


def _gallery(reading: Sequence[RegionRow], answers: Sequence[AnswerRow], pictures: Mapping[str, Picture]) -> str:
    cards = []
    for key, picture in pictures.items():
        rows = [
            [str(row.region), _text(row.truth), marked(row.prediction, row.truth), row.level]
            for row in reading
            if row.key == key and row.picture == "right"
        ]
        said = [row for row in answers if row.key == key]
        for answer in said:
            thought = f"<small>{_text(answer.thought)}</small>" if answer.thought else ""
            words = _text("(no answer)" if answer.answer is None else answer.answer)
            shown = f"<span class={answer.verdict}>{words}</span>{thought}"
            rows.append([_text(answer.model), _text(answer.truth), shown, answer.mode])
        source = f"data:{picture.media};base64,{base64.b64encode(picture.data).decode()}"
        title = f"<p class=q>{_text(said[0].question)}</p>" if said else ""
        table = _table(["", "truth", "said", ""], rows)
        cards.append(f"<figure><img src='{source}' alt='{_text(key)}'>{title}{table}</figure>")
    if not cards:
        return ""
    lead = "<p>The first test samples in hash order, not chosen by result.</p>"
    return f"<section><h2>What it said</h2>{lead}<div class=gallery>{''.join(cards)}</div></section>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of ready HTML cells; the first cell of a row is its head."""
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    lines += [f"<tr><th>{row[0]}</th>" + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>" for row in rows]
    return f"<div class=scroll><table>{''.join(lines)}</table></div>"


def marked(prediction: str | None, truth: str) -> str:
    """The prediction as HTML with what differs from the truth in ``<mark>``; missing characters as a raised dot."""
    if prediction is None:
        return "<i>no line</i>"
    said, reference = normalise(prediction), normalise(truth)
    parts = []
    for tag, start, end, _, _ in difflib.SequenceMatcher(None, said, reference, autojunk=False).get_opcodes():
        text = _text(said[start:end])
        parts.append(text if tag == "equal" else f"<mark>{text or '·'}</mark>")
    return "".join(parts)


def _strip(value: float, name: str) -> str:
    width = 0.0 if not math.isfinite(value) else 100 * min(1.0, max(0.0, value))
    return f"<div class='strip {name}' style='width:{width:.1f}%'><em>{_number(value, 2)}</em></div>"


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _signed(value: float) -> str:
    return f"{value:+#.3g}"


def _interval(lower: float, upper: float) -> str:
    return f"<b>{_signed(lower)} to {_signed(upper)}</b>" if math.isfinite(lower) else "<b>none</b>"


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else f"{value:.{digits}f}"


_STYLE = """
:root{--ink:#1c2024;--soft:#667079;--line:#e3e6e9;--page:#fff;--card:#f7f8f9;--yes:#1f7a4d;--no:#a3541c;
 --right:#2f6fb0;--wrong:#c9a25c;--mark:#ffd9c2}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8ea;--soft:#9aa3ab;--line:#33383d;--page:#16191c;--card:#1e2226;
 --yes:#58b98a;--no:#dd9158;--right:#6aa5df;--wrong:#b8935a;--mark:#6b3a1e}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:1080px;margin:0 auto;
 padding:2rem 1.2rem}
h1{font-size:1.6rem;margin:0}h3{font-size:1rem;margin:1.2rem 0 0}p{margin:.3rem 0}
h2{font-size:1.15rem;margin:2.2rem 0 .4rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
.sub,footer,.why,small{color:var(--soft)}footer{margin-top:2.5rem;font-size:.85rem;white-space:pre-line}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(220px,1fr));gap:.8rem}
.card{background:var(--card);border-left:4px solid var(--no);border-radius:6px;padding:.7rem .9rem}
.card.yes{border-color:var(--yes)}.card p{font-size:.85rem}
.state{font-size:.75rem;letter-spacing:.04em;text-transform:uppercase;color:var(--no)}.yes .state{color:var(--yes)}
.value{font-size:1.6rem;font-variant-numeric:tabular-nums}.value small{font-size:.85rem}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .7rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600}.scroll{overflow-x:auto}.strips{margin:.8rem 0}
.row{display:grid;grid-template-columns:6rem 1fr;align-items:center;margin:.35rem 0}
.track{border-left:1px solid var(--line);padding-right:3rem}b.right{color:var(--right)}b.wrong{color:var(--wrong)}
.strip{height:13px;margin:2px 0;border-radius:0 3px 3px 0;position:relative;min-width:1px}
.strip.right{background:var(--right)}.strip.wrong{background:var(--wrong)}
.strip em{position:absolute;left:100%;top:-4px;margin-left:.4rem;font-style:normal;font-size:.75rem;color:var(--soft)}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:1rem;margin-top:.8rem}
figure{margin:0;background:var(--card);border-radius:6px;padding:.7rem}figure table{width:100%;margin-top:.4rem}
img{width:100%;border-radius:4px;background:#fff}.q{font-weight:600}mark{background:var(--mark);color:inherit}
span.wrong,span.format{background:var(--mark);padding:0 .2rem;border-radius:2px}td small{display:block}
"""
