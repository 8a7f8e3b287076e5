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
    parts = [part for message in sampled.sample["messages"] for part in content_of(message)]
    packages: list[list[tuple[str, int]]] = []
    for part in (part for part in parts if part["type"] == "video"):
        frames = iter(part["parts"])
        packages += [[(next(frames), tick) for tick in group] for group in group_ticks(part["ticks"], PACKING)]
    pictures = tuple(
        shrunk(sampled.parts[name], f"{tick / TICKS_PER_SECOND:.1f} s (tick {tick})", side=FRAME_SIDE, group=title)
        for title, package in ((f"package {number}", one) for number, one in enumerate(packages[:MOST_PACKAGES], 1))
        for name, tick in package
    )
    more = (f"the first {MOST_PACKAGES} packages are shown",) if len(packages) > MOST_PACKAGES else ()
    facts = (*facts_of(sampled), f"{len(packages)} packages of up to {PACKING} frames", *more)
    return Card(sampled.row.source, facts, pictures, lines_of(sampled), strip=True)
