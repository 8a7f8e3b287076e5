"""The steps of a run as an SVG from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from pipelines.workflow.status import StepStatus

WIDTH, HEIGHT, ACROSS, DOWN, MARGIN = 148, 44, 52, 16, 2
"""Pixels: a node, the gaps between columns and rows, the rim."""
LEAST = 0.72
"""How far a wide graph is shrunk to the page before it scrolls."""


def draw(rows: tuple[StepStatus, ...], states: Mapping[str, str], below: Mapping[str, str]) -> str:
    """``states``: step -> CSS class of its colour; ``below``: step -> the small line under its name."""
    place = layers({row.step: row.inputs for row in rows})
    tallest = max(level for _, level in place.values()) + 1
    counts = {column: sum(1 for c, _ in place.values() if c == column) for column, _ in place.values()}
    corner = {}
    for name, (column, level) in place.items():
        down = (tallest - counts[column]) * (HEIGHT + DOWN) / 2
        corner[name] = (MARGIN + column * (WIDTH + ACROSS), MARGIN + down + level * (HEIGHT + DOWN))
    wide = max(x for x, _ in corner.values()) + WIDTH + MARGIN
    high = tallest * (HEIGHT + DOWN) - DOWN + 2 * MARGIN
    parts = [
        f'<svg role="img" aria-label="steps and their inputs" viewBox="0 0 {wide} {high}" '
        f'style="width:min(100%,{wide}px);min-width:{LEAST * wide:.0f}px">'
    ]
    for row in rows:
        parts += [_edge(corner[parent], corner[row.step]) for parent in row.inputs if parent in corner]
    for row in rows:
        x, y = corner[row.step]
        parts.append(
            f'<g class="{states[row.step]}"><title>{escape(row.step)}: {escape(row.state)}</title>'
            f'<rect class="node" x="{x}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f'<rect class="band" x="{x}" y="{y:g}" width="6" height="{HEIGHT}" rx="3"/>'
            f'<text class="name" x="{x + 15}" y="{y + 18:g}">{escape(_short(row.step, 17))}</text>'
            f'<text class="sub" x="{x + 15}" y="{y + 34:g}">{escape(_short(below[row.step], 21))}</text></g>'
        )
    return "".join([*parts, "</svg>"])


def _edge(parent: tuple[float, float], child: tuple[float, float]) -> str:
    x, y = parent[0] + WIDTH, parent[1] + HEIGHT / 2
    u, v = child[0], child[1] + HEIGHT / 2
    bend = ACROSS * 0.6
    return f'<path class="edge" d="M{x:g} {y:g} C{x + bend:g} {y:g} {u - bend:g} {v:g} {u:g} {v:g}"/>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


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
            name: sum(place[parent][1] for parent in inputs[name] if parent in place)
            / max(1, sum(parent in place for parent in inputs[name]))
            for name in names
        }
        for row, name in enumerate(sorted(names, key=lambda name: (height[name], list(inputs).index(name)))):
            place[name] = (depth, row)
    return place
