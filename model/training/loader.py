"""This rank's packs, decoded: read by byte offset, JPEG by Pillow, ``Processor.encode``, ``pack``.

A sample that cannot be decoded is left out and *counted* (``skipped``, with its key in ``problems``), or fails the run
with ``on_error="fail"``. A pack of which nothing is left becomes a filler without supervised tokens, so no rank ever
misses a collective. One optional thread decodes the next step while this one trains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from model.pack import IGNORE, Encoded, Pack, pack
from model.processor import Processor
from model.training.config import TrainConfig
from model.training.order import Item
from model.training.plan import Plan
from pipelines.core.errors import DataError
from pipelines.core.seeds import generator
from pipelines.corruption.view import ONLINE, redraw
from pipelines.shards.read import decode_parts, pictures_shown, read_sample, unfold_clips
from pipelines.shards.sample import image_content, text_content, turn

_BROKEN = (DataError, OSError, UnidentifiedImageError, ValueError, KeyError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Loaded:
    """A pack ready for the model, and what it holds. ``supervised`` counts predicted tokens, ``problems`` is
    (sample key, message) of samples left out."""

    pack: Pack
    number: int
    samples: int
    tokens: int
    supervised: int
    patches: int
    problems: tuple[tuple[str, str], ...]


class Loader:
    """Packs of one phase for one rank.

    ``steps(first)`` yields, for every optimizer step from ``first`` on, the list of this rank's loaded packs."""

    def __init__(self, plan: Plan, processor: Processor, config: TrainConfig, rank: int = 0) -> None:
        self.plan, self.processor, self.config, self.rank = plan, processor, config, rank

    def steps(self, first: int = 0) -> Iterator[list[Loaded]]:
        numbers = range(first, len(self.plan.packs) // self.plan.packs_per_step)
        if not self.config.prefetch:
            yield from map(self.load_step, numbers)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="loader") as pool:
            waiting = pool.submit(self.load_step, numbers[0]) if numbers else None
            for number in numbers:
                loaded = waiting.result() if waiting else []
                waiting = pool.submit(self.load_step, number + 1) if number + 1 in numbers else None
                yield loaded

    def load_step(self, step: int) -> list[Loaded]:
        """This rank's packs of one step."""
        packs = self.plan.of_rank(step, self.rank, self.config.world_size)
        return [self.load(number, items) for number, items in packs]

    def load(self, number: int, items: Sequence[Item]) -> Loaded:
        """Decode and pack. Raises DataError for a broken sample with ``on_error="fail"``."""
        encoded, problems = [], []
        for item in items:
            try:
                encoded.append(encode_item(item, self.processor))
            except _BROKEN as error:
                if self.config.on_error == "fail":
                    raise DataError(
                        f"sample {item.ref.key!r} cannot be used: {error}",
                        where=item.ref.shard,
                        do='run `cookhouse shards verify`, or train with on_error: "skip"',
                    ) from error
                problems.append((item.ref.key, f"{type(error).__name__}: {error}"))
        packed = pack(encoded or [filler(self.processor)])
        return Loaded(
            pack=packed,
            number=number,
            samples=len(encoded),
            tokens=int(packed.input_ids.numel()) if encoded else 0,
            supervised=packed.supervised,
            patches=int(packed.patches.shape[0]) if encoded else 0,
            problems=tuple(problems),
        )


def encode_item(item: Item, processor: Processor) -> Encoded:
    """Read and encode one sample of a plan."""
    parts = read_sample(item.ref)
    sample = json.loads(parts["json"])
    unfolded, images = unfold_clips(sample["messages"], parts)
    messages: list[dict[str, Any]] = [_thinned(message, item.stride) for message in unfolded]
    images |= decode_parts({name: parts[name] for name in pictures_shown(messages) if name not in images})
    if ONLINE in sample["meta"]:
        images["jpg"], messages = _drawn(images["jpg"], sample["meta"][ONLINE], item)
    return processor.encode(
        messages, images, mode=sample["mode"], package=max(1, item.package), temporal=item.package > 0
    )


def _drawn(page: Image.Image, online: Mapping[str, Any], item: Item) -> tuple[Image.Image, list[dict[str, Any]]]:
    """A page stored clean as it looks at this visit, with its question and answer: the draw of the documents stage."""
    drawn = redraw(np.asarray(page), online, generator(ONLINE, item.draw, item.ref.key))
    return Image.fromarray(drawn.image), turn([image_content(), text_content(drawn.prompt)], drawn.target)


def filler(processor: Processor) -> Encoded:
    """A sample nothing is learned from."""
    encoded = processor.encode(turn([text_content(".")], "."), {}, mode="none")
    return replace(encoded, labels=torch.full_like(encoded.labels, IGNORE))


def _thinned(message: dict[str, Any], stride: int) -> dict[str, Any]:
    """Every stride-th frame of its videos."""
    if isinstance(message["content"], str) or stride == 1:
        return message
    parts = [
        part | {name: part[name][::stride] for name in ("parts", "ticks") if part["type"] == "video"}
        for part in message["content"]
    ]
    return {**message, "content": parts}
