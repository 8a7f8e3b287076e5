"""The plain card: the pictures of a sample and what is said about them. For kinds without a card of their own."""

from __future__ import annotations

from cookhouse.preview.cards import Card, Line, Sampled, shrunk
from pipelines.shards.read import content_of, pictures_of, pictures_shown

PICTURE_SIDE, SINGLE_SIDE = 320, 600
MOST_PICTURES = 24


def conversation_card(sampled: Sampled) -> Card:
    """The pictures in the order they are spoken of, numbered (at most ``MOST_PICTURES``), then the turns with a mark where
    each stands, thoughts before the answers they lead to."""
    names = pictures_shown(sampled.sample["messages"])
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
        for part in content_of(message):
            names = pictures_of(part)
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
