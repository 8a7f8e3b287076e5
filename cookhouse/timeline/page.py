"""The page itself: head, graph, one line a step that opens to its tries."""

from __future__ import annotations

import time
from collections.abc import Mapping
from html import escape
from pathlib import PurePosixPath
from urllib.parse import quote

from cookhouse.cli.words import duration, size
from cookhouse.timeline.graph import draw
from cookhouse.timeline.style import CSS
from pipelines.workflow.status import RunStatus, StepStatus, Try

STATES = {"done": "made", "ok": "finished", "gone": "gone without a word", "LOST": "lost"}
"""States in words where their own name says too little."""
REFRESH_S = 10


def render(timeline: RunStatus, links: Mapping[str, str], base: str) -> str:
    """HTML of a run. ``links``: step -> address of its MLflow run; ``base``: the folder the page lies in, which links to
    logs are relative to. What lies in a remote store is named and not linked."""
    going = timeline.state == "running"
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_S}">' if going else ""
    states = {row.step: _class(row, timeline) for row in timeline.steps}
    below = {row.step: _below(row, timeline) for row in timeline.steps}
    return "\n".join(
        [
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{refresh}',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(timeline.recipe)} {escape(timeline.run_id)}</title><style>{CSS}</style></head><body><main>",
            _head(timeline),
            f'<h2>Graph</h2><div class="graph">{draw(timeline.steps, states, below)}</div>',
            f'<h2>Steps</h2><div class="axis"><i></i><i></i><span><b>{_clock(timeline.started)}</b>'
            f"<b>{_clock(timeline.ended)}</b></span></div>",
            *(_step(row, timeline, states[row.step], links.get(row.step, ""), base) for row in timeline.steps),
            f"<footer>Written {time.strftime('%Y-%m-%d %H:%M:%S')} by <code>cookhouse status --html</code>"
            f"{f'; it loads itself again every {REFRESH_S} s while <code>--watch</code> writes it' if going else ''}. "
            "Bars are attempts in the time of this run; what it took from the store has none.</footer>",
            "</main></body></html>",
        ]
    )


def _head(timeline: RunStatus) -> str:
    rest = [text for text in timeline.overrides if not text.startswith("recipe=")]
    typed = " ".join(["cookhouse run", f"recipe={timeline.recipe}", *rest])
    counts: dict[str, int] = {}
    for row in timeline.steps:
        state = "from the store" if _class(row, timeline) == "hit" else STATES.get(row.state, row.state)
        counts[state] = counts.get(state, 0) + 1
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    state = STATES.get(timeline.state, timeline.state)
    return (
        f'<header><h1>{escape(timeline.recipe)} <span class="chip full {timeline.state}">{state}</span></h1>'
        f"<p>{time.strftime('%Y-%m-%d %H:%M', time.localtime(timeline.started))} &middot; "
        f"{duration(timeline.ended - timeline.started)} &middot; {len(timeline.steps)} steps: {escape(summary)} &middot; "
        f"run <code>{escape(timeline.run_id)}</code></p><p><code>{escape(typed)}</code></p></header>"
    )


def _step(row: StepStatus, timeline: RunStatus, state: str, link: str, base: str) -> str:
    shown = "from the store" if state == "hit" else STATES.get(row.state, row.state)
    bars = "".join(_bar(one, timeline) for one in row.tries if one.ended >= timeline.started)
    figures = [
        f"{last.done:,}/{last.total:,} {last.unit}"
        if (last := row.last) and last.total and last.done is not None
        else "",
        f"{row.samples:,.0f} samples" if row.samples else "",
        size(row.bytes) if row.bytes else "",
        f"{row.metric[0]} {row.metric[1]:.4g}" if row.metric and row.metric[0] != "samples" else "",
    ]
    took = duration(row.seconds) if row.seconds is not None else _elapsed(row, timeline)
    kind = f"<small>{escape(row.stage)}</small>" if row.stage != row.step else ""
    opened = " open" if row.state in ("failed", "LOST") else ""
    return (
        f'<details{opened} id="{escape(row.step)}"><summary><span class="step">{escape(row.step)}'
        f'{kind}</span><span><span class="chip {state}">{escape(shown)}</span></span>'
        f'<span class="bars">{bars}</span><span class="took">{took}</span>'
        f'<span class="figures">{escape(", ".join(text for text in figures if text))}</span></summary>'
        f'<div class="more">{_more(row, link, base)}</div></details>'
    )


def _more(row: StepStatus, link: str, base: str) -> str:
    lines = [f"<p>{escape(row.decision)}: {escape('; '.join(row.reasons))}</p>" if row.reasons else ""]
    if row.note:
        lines.append(f'<p class="{"bad" if row.state == "failed" else ""}">{escape(row.note)}</p>')
    if row.tries:
        cells = "".join(
            f"<tr><td>attempt {one.number}</td><td><span class='chip {one.state}'>{STATES.get(one.state, one.state)}"
            f"</span></td><td>{_date(one.started)}</td><td>{duration(one.ended - one.started)}</td>"
            f"<td>{one.units} units</td><td>{_log(row, one, base)}</td>"
            f"<td>{escape(one.note)}</td></tr>"
            for one in row.tries
        )
        head = "".join(f"<th>{name}</th>" for name in ("", "", "begun", "took", "finished", "", ""))
        lines.append(f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>")
    generation = f", generation {row.generation}" if row.generation > 1 else ""
    made = f" &middot; made {_date(row.made)}" if row.made is not None else ""
    mlflow = f" &middot; <a href='{escape(link)}'>MLflow</a>" if link else ""
    folder = f"<a href='{escape(_href(row.folder, base))}'>{escape(PurePosixPath(row.folder).name)}</a>"
    if _remote(row.folder):
        folder = f"<code>{escape(row.folder)}</code>"
    lines.append(f"<p>{folder}{generation}{made}{mlflow}<br><code>{escape(row.key)}</code></p>")
    return "".join(lines)


def _bar(one: Try, timeline: RunStatus) -> str:
    whole = max(timeline.ended - timeline.started, 0.001)
    left = max(0.0, (one.started - timeline.started) / whole)
    width = max(0.0, (min(one.ended, timeline.ended) - timeline.started) / whole - left)
    name = f"attempt {one.number}: {STATES.get(one.state, one.state)}, {duration(one.ended - one.started)}"
    return f'<span class="bar {one.state}" title="{name}" style="left:{left:.2%};width:{width:.2%}"></span>'


def _class(row: StepStatus, timeline: RunStatus) -> str:
    """``hit`` for what this run found in the store, else the state."""
    return "hit" if row.state == "done" and row.made is not None and row.made < timeline.started else row.state


def _below(row: StepStatus, timeline: RunStatus) -> str:
    if row.state == "done":
        return "from the store" if _class(row, timeline) == "hit" else f"made in {duration(row.seconds or 0)}"
    if row.state == "running" and row.last and row.last.total:
        return f"{row.last.done}/{row.last.total} {row.last.unit}"
    return STATES.get(row.state, row.state)


def _elapsed(row: StepStatus, timeline: RunStatus) -> str:
    current = [one for one in row.tries if one.ended >= timeline.started]
    return duration(current[-1].ended - current[-1].started) if current else ""


def _log(row: StepStatus, one: Try, base: str) -> str:
    if _remote(one.log):
        return f"<code>cookhouse logs {escape(row.step)} --attempt {one.number}</code>"
    return f"<a href='{escape(_href(one.log, base))}'>log</a>"


def _remote(path: str) -> bool:
    """Whether a path is an address of a remote store, which a browser cannot open."""
    return "://" in path


def _href(path: str, base: str) -> str:
    """A path of a local store relative to the page."""
    parts, here = PurePosixPath(path).parts, PurePosixPath(base).parts
    common = next((i for i, (a, b) in enumerate(zip(parts, here, strict=False)) if a != b), min(len(parts), len(here)))
    return quote("/".join([".."] * (len(here) - common) + list(parts[common:])))


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
