"""The page of a run: the graph of its steps, and a line a step that opens to its tries."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from os.path import relpath
from statistics import fmean
from typing import Any
from urllib.parse import quote

from cookhouse.cli.words import duration, size
from cookhouse.pages import kit
from pipelines.workflow.status import RunStatus, StepStatus

STATES = {"done": "made", "ok": "finished", "gone": "gone without a word", "LOST": "lost"}
"""States in words where their own name says too little."""
REFRESH_S = 10
NODE, ACROSS, DOWN, MARGIN = (148, 44), 52, 16, 2
"""Pixels of the graph: a node, the gaps between columns and rows, the rim."""


def render(timeline: RunStatus, links: Mapping[str, str], base: str) -> str:
    """HTML of a run. ``links``: step -> address of its MLflow run; ``base``: the folder the page lies in, which links to
    logs are relative to. What lies in a remote store is named and not linked."""
    steps = [_step(row, timeline, links.get(row.step, "")) for row in timeline.steps]
    counts = Counter(step["words"] for step in steps)
    rest = [text for text in timeline.overrides if not text.startswith("recipe=")]
    return kit.render(
        "timeline",
        run=timeline,
        steps=steps,
        states=STATES,
        graph=_graph(timeline.steps),
        summary=", ".join(f"{count} {words}" for words, count in counts.items()),
        typed=" ".join(["cookhouse run", f"recipe={timeline.recipe}", *rest]),
        href=lambda path: href(path, base),
        refresh_s=REFRESH_S,
        now=time.time(),
    )


def _step(row: StepStatus, timeline: RunStatus, link: str) -> dict[str, Any]:
    """``state`` is its colour: ``hit`` for what this run found in the store, else the state."""
    found = row.state == "done" and row.made is not None and row.made < timeline.started
    words = "from the store" if found else STATES.get(row.state, row.state)
    current = [one for one in row.tries if one.ended >= timeline.started]
    last = row.last
    counted = f"{last.done:,}/{last.total:,} {last.unit}" if last and last.total and last.done is not None else ""
    took = row.seconds
    if took is None and current:
        took = current[-1].ended - current[-1].started
    below = words
    if row.state == "done" and not found:
        below = f"made in {duration(row.seconds or 0)}"
    elif row.state == "running" and counted:
        below = counted
    figures = [
        counted,
        f"{row.samples:,.0f} samples" if row.samples else "",
        size(row.bytes) if row.bytes else "",
        f"{row.metric[0]} {row.metric[1]:.4g}" if row.metric and row.metric[0] != "samples" else "",
    ]
    whole = max(timeline.ended - timeline.started, 0.001) / 100
    bars = []
    for one in current:
        left = max(0.0, (one.started - timeline.started) / whole)
        width = max(0.0, (min(one.ended, timeline.ended) - timeline.started) / whole - left)
        took_s = one.ended - one.started
        bars.append({"number": one.number, "state": one.state, "took": took_s, "left": left, "width": width})
    return {
        "row": row,
        "state": "hit" if found else row.state,
        "words": words,
        "below": below,
        "bars": bars,
        "took": took,
        "figures": [text for text in figures if text],
        "link": link,
    }


def _graph(rows: Sequence[StepStatus]) -> dict[str, Any]:
    """Where the nodes of a drawing from left to right stand (pixels), each column centred, and the edges."""
    place = layers({row.step: row.inputs for row in rows})
    width, height = NODE
    counts = Counter(column for column, _ in place.values())
    tallest = max(level for _, level in place.values()) + 1
    corners = {
        name: (
            MARGIN + column * (width + ACROSS),
            MARGIN + (tallest - counts[column]) * (height + DOWN) / 2 + level * (height + DOWN),
        )
        for name, (column, level) in place.items()
    }
    links = [(parent, row.step) for row in rows for parent in row.inputs if parent in corners]
    edges = [
        (corners[a][0] + width, corners[a][1] + height / 2, corners[b][0], corners[b][1] + height / 2) for a, b in links
    ]
    return {
        "node": NODE,
        "corners": corners,
        "edges": edges,
        "width": max(x for x, _ in corners.values()) + width + MARGIN,
        "height": tallest * (height + DOWN) - DOWN + 2 * MARGIN,
    }


def layers(inputs: Mapping[str, Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Step -> (column, row) of a drawing from left to right: a column further right than every input, rows near the
    inputs' rows. Steps come in topological order."""
    column: dict[str, int] = {}
    for name, parents in inputs.items():
        column[name] = max((column[parent] + 1 for parent in parents if parent in column), default=0)
    place: dict[str, tuple[int, int]] = {}
    for depth in range(max(column.values(), default=-1) + 1):
        names = [name for name in column if column[name] == depth]
        height = {
            name: fmean([place[parent][1] for parent in inputs[name] if parent in place] or [0]) for name in names
        }
        for row, name in enumerate(sorted(names, key=lambda name: height[name])):
            place[name] = (depth, row)
    return place


def href(path: str, base: str) -> str:
    """A path of a local store relative to the page."""
    return quote(relpath(path, base))
