"""The plain card: the pictures of a sample and what is said about them. For kinds without a card of their own."""

from __future__ import annotations

from typing import Any

from cookhouse.preview.cards import Card, Line, Sampled, shrunk

PICTURE_SIDE, SINGLE_SIDE = 320, 600
MOST_PICTURES = 24


def conversation_card(sampled: Sampled) -> Card:
    """The pictures in the order they are spoken of, numbered (at most ``MOST_PICTURES``), then the turns with a mark where
    each stands, thoughts before the answers they lead to."""
    names = [name for message in sampled.sample["messages"] for part in _parts(message) for name in _names(part)]
    strip = len(names) > 1
    pictures = tuple(
        shrunk(
            sampled.parts[name],
            f"picture {number}" if strip else "picture",
            side=PICTURE_SIDE if strip else SINGLE_SIDE,
        )
        for number, name in enumerate(names[:MOST_PICTURES], 1)
    )
    more = (f"the first {MOST_PICTURES} of {len(names)} pictures are shown",) if len(names) > MOST_PICTURES else ()
    return Card(sampled.row.source, (*facts_of(sampled), *more), pictures, lines_of(sampled), strip=strip)


def facts_of(sampled: Sampled) -> tuple[str, ...]:
    """What stands under the title: kind, split, tags, frames."""
    row = sampled.row
    return (row.kind, row.split, *row.tags, *((f"{row.frames} frames",) if row.frames else ()))


def lines_of(sampled: Sampled) -> tuple[Line, ...]:
    """The turns in order; ``[picture 2]`` and ``[frames 1-16]`` stand where the model sees them."""
    lines = []
    count = 0
    for message in sampled.sample["messages"]:
        words = []
        for part in _parts(message):
            names = _names(part)
            if part["type"] == "text":
                words.append(part["text"])
            elif part["type"] == "image":
                words.append(f"[picture {count + 1}]")
            else:
                words.append(f"[frames {count + 1}-{count + len(names)}]")
            count += len(names)
        if message.get("thought"):
            lines.append(Line("thought", "thought", "", message["thought"]))
        lines.append(Line(message["role"], message["role"], "", " ".join(words).strip()))
    return tuple(lines)


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _names(part: dict[str, Any]) -> list[str]:
    """The pictures of a part."""
    return [part["part"]] if part["type"] == "image" else list(part.get("parts", ()))
