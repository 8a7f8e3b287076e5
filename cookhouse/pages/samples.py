"""The page of samples: head with totals, one card a sample, what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from cookhouse.pages import kit
from cookhouse.preview.cards import Card
from cookhouse.preview.pick import LeftOut

SMALL = 400
"""Longest side (pixels) of pictures that are shown two cards a row."""


def render(title: str, about: Sequence[str], cards: Sequence[Card], left_out: Sequence[LeftOut]) -> str:
    """HTML of a contact sheet. ``about``: short facts under the title."""
    boxed = any(picture.boxes for card in cards for picture in card.pictures)
    shown: list[dict[str, Any]] = [
        {
            "card": card,
            "kind": _kind(card),
            "groups": [(name, list(own)) for name, own in groupby(card.pictures, key=lambda picture: picture.group)],
        }
        for card in cards
    ]
    return kit.render("samples", title=title, about=about, cards=shown, boxed=boxed, left_out=left_out)


def _kind(card: Card) -> str:
    """How a card is laid out: a ``strip`` of frames, ``small``, ``one`` picture beside its text, or two columns of them."""
    if card.strip:
        return "strip"
    if card.pictures and max(max(picture.size) for picture in card.pictures) <= SMALL:
        return "small"
    return "one" if len(card.pictures) == 1 else ""
