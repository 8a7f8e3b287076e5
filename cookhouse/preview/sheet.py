"""The page: head with totals, one card a sample, what was left out. Self-contained: pictures are inside, no script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from itertools import groupby

from cookhouse.preview.cards import Box, Card, Line, Picture
from cookhouse.preview.pick import LeftOut
from cookhouse.preview.style import CSS

LEVELS = ("low", "moderate", "high")


def render(title: str, about: Sequence[str], cards: Sequence[Card], left_out: Sequence[LeftOut]) -> str:
    """HTML of a contact sheet. ``about``: short facts under the title."""
    boxed = any(picture.boxes for card in cards for picture in card.pictures)
    legend = "".join(f'<span class="chip {level}">{level}</span>' for level in LEVELS) if boxed else ""
    toggle = '<input type="checkbox" id="frames" checked><label for="frames">frames</label>' if boxed else ""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{CSS}</style></head><body>",
            toggle,
            f'<header><h1>{escape(title)}</h1><p>{" &middot; ".join(map(escape, about))}</p><p class="legend">{legend}</p>'
            "</header><main>",
            *(_card(number, card) for number, card in enumerate(cards, 1)),
            "</main>",
            _left(left_out),
            "</body></html>",
        ]
    )


def _card(number: int, card: Card) -> str:
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in card.facts)
    pictures = "".join(
        _group(title, [_picture(picture) for picture in pictures])
        for title, pictures in groupby(card.pictures, key=lambda picture: picture.group)
    )
    lines = "".join(_line(line) for line in card.lines)
    kind = "strip" if card.strip else "small" if _small(card) else "one" if len(card.pictures) == 1 else ""
    return (
        f'<article class="{kind}"><h2><b>{number}</b> {escape(card.title)}</h2><ul class="facts">{facts}</ul>'
        f'<div class="body"><div class="pictures">{pictures}</div><div class="lines">{lines}</div></div></article>'
    )


def _group(title: str, figures: Sequence[str]) -> str:
    """Pictures of a group in one frame as wide as they are many; those of none stay by themselves."""
    if not title:
        return "".join(figures)
    return (
        f'<div class="group" style="grid-column:span {len(figures)};--n:{len(figures)}"><h3>{escape(title)}</h3>'
        f"{''.join(figures)}</div>"
    )


def _small(card: Card) -> bool:
    """Little pictures (cards) are shown two cards a row."""
    return bool(card.pictures) and max(max(picture.size) for picture in card.pictures) <= 400


def _picture(picture: Picture) -> str:
    width, height = picture.size
    kind = "png" if picture.data[:4] == b"\x89PNG" else "jpeg"
    data = base64.b64encode(picture.data).decode()
    frames = "".join(_frame(box, max(width, height)) for box in picture.boxes)
    overlay = f'<svg viewBox="0 0 {width} {height}">{frames}</svg>' if frames else ""
    return (
        f'<figure><div class="page"><img alt="{escape(picture.caption)}" width="{width}" height="{height}" '
        f'src="data:image/{kind};base64,{data}">{overlay}</div><figcaption>{escape(picture.caption)}</figcaption></figure>'
    )


def _frame(box: Box, side: int) -> str:
    x0, y0, x1, y1 = box.bbox
    return (
        f'<rect class="{box.style}" x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}" '
        f'stroke-width="{max(1.0, side / 450):.1f}"><title>{escape(box.label)}</title></rect>'
    )


def _line(line: Line) -> str:
    about = f"<small>{escape(line.about)}</small>" if line.about else ""
    return (
        f'<div class="line"><span class="chip {escape(line.style)}">{escape(line.chip)}</span>{about}'
        f'<p dir="auto">{escape(line.text)}</p></div>'
    )


def _left(groups: Sequence[LeftOut]) -> str:
    if not groups:
        return ""
    rows = []
    for group in groups:
        for place, row in enumerate(group.examples):
            head = (
                f'<td rowspan="{len(group.examples)}">{escape(group.status)}<br><b>{escape(group.category)}</b></td>'
                f'<td rowspan="{len(group.examples)}" class="number">{group.count:,}</td>'
            )
            where = row.source + (f" page {row.item + 1}" if row.item >= 0 else "")
            rows.append(
                f"<tr>{head if place == 0 else ''}<td>{escape(where)}</td><td>{escape(row.reason or '')}</td></tr>"
            )
    total = sum(group.count for group in groups)
    return (
        f"<section><h2>Left out: {total:,} rows</h2><table><tr><th>why</th><th>rows</th><th>for example</th>"
        f"<th>reason</th></tr>{''.join(rows)}</table></section>"
    )
