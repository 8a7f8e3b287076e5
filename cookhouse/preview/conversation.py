"""The plain card: the pictures of a sample and what is said about them. For kinds without a card of their own."""

from __future__ import annotations

from cookhouse.preview.cards import Card, Line, Sampled, shrunk

FRAME_SIDE = 320
MOST_FRAMES = 12


def conversation_card(sampled: Sampled) -> Card:
    """Pictures (frames as a strip, at most ``MOST_FRAMES`` evenly spaced), then the turns."""
    names = sorted(name for name in sampled.parts if name.endswith((".jpg", ".png", "jpg", "png")))
    step = max(1, -(-len(names) // MOST_FRAMES))
    shown = names[::step]
    strip = len(names) > 1
    pictures = tuple(
        shrunk(sampled.parts[name], name if strip else "picture", side=FRAME_SIDE if strip else 600) for name in shown
    )
    lines = []
    for message in sampled.sample["messages"]:
        content = message["content"]
        text = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content).strip()
        if message.get("thought"):
            lines.append(Line("thought", "thought", "", message["thought"]))
        lines.append(Line(message["role"], message["role"], "", text))
    row = sampled.row
    facts = (row.kind, row.split, *row.tags, *((f"{row.frames} frames",) if row.frames else ()))
    return Card(f"{row.source}", facts, pictures, tuple(lines), strip=strip)
