"""The card of a clip: its frames in a strip, each with its time, framed by the packages that share visual tokens."""

from __future__ import annotations

from cookhouse.preview.cards import Card, Sampled, shrunk
from cookhouse.preview.conversation import facts_of, lines_of
from model.video import TICKS_PER_SECOND, group_ticks
from pipelines.shards.read import content_of

PACKING = 3
"""Frames a package as released (training draws 1 to 6 for every sample)."""
FRAME_SIDE = 200
MOST_PACKAGES = 16


def video_card(sampled: Sampled) -> Card:
    """Every frame of the first ``MOST_PACKAGES`` packages, in order; a box around each package."""
    pictures = []
    packages = shown = 0
    for message in sampled.sample["messages"]:
        for part in content_of(message):
            if part["type"] != "video":
                continue
            frames = iter(part["parts"])
            for group in group_ticks(part["ticks"], PACKING):
                packages += 1
                names = [next(frames) for _ in group]
                if packages > MOST_PACKAGES:
                    continue
                shown = packages
                title = f"package {packages}"
                for name, tick in zip(names, group, strict=True):
                    caption = f"{tick / TICKS_PER_SECOND:.1f} s (tick {tick})"
                    pictures.append(shrunk(sampled.parts[name], caption, side=FRAME_SIDE, group=title))
    more = (f"the first {shown} packages are shown",) if shown < packages else ()
    facts = (*facts_of(sampled), f"{packages} packages of up to {PACKING} frames", *more)
    return Card(sampled.row.source, facts, tuple(pictures), lines_of(sampled), strip=True)
