"""The chunks of one evaluation: what is asked, with whose pictures, of which weights; one chunk is one decode batch and
one unit. No tensor here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from model.evaluation.select import chunked
from model.evaluation.task import Asked, Task
from model.training.phases import Precision
from pipelines.shards.index import SampleRef


@dataclass(frozen=True)
class Weights:
    """A model folder and how it is loaded."""

    folder: str
    precision: Precision = "fp32"
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Chunk:
    """What one call evaluates. ``model`` is the name in the figures; ``output`` the JSONL to write, ``rows`` are files of
    visual rows made before (``Pictures``)."""

    unit: str
    task: Task
    model: str
    weights: Weights
    asked: tuple[Asked, ...]
    output: str
    max_new_tokens: int
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pictures:
    """Samples whose pictures one call turns into visual rows; ``output`` is the safetensors to write."""

    refs: tuple[SampleRef, ...]
    weights: Weights
    output: str


def chunks_of(
    task: Task, asked: Sequence[Asked], model: str, weights: Weights, size: int, output: str, max_new_tokens: int
) -> Iterator[Chunk]:
    """What a task asks of one model, variant by variant. ``output`` is a path with ``{unit}``."""
    for variant, group in groupby(asked, key=lambda one: one.variant):
        for number, part in enumerate(chunked(list(group), size)):
            unit = f"{task.name}-{model}-{variant}-{number:03d}"
            yield Chunk(unit, task, model, weights, part, output.format(unit=unit), max_new_tokens)


def with_rows(
    chunks: Sequence[Chunk], towers: Mapping[str, str], size: int, output: str
) -> tuple[list[Pictures], list[Chunk]]:
    """What makes the visual rows of all pictures, each picture once for all models of one tower, and the chunks that read
    them. ``towers``: folder -> name of its tower and resampler; ``output``: path with ``{tower}`` and ``{number}``."""
    names = [[(towers[chunk.weights.folder], *_picture(one.shown)) for one in chunk.asked] for chunk in chunks]
    first: dict[tuple[str, ...], tuple[SampleRef, Weights]] = {}
    for chunk, asked in zip(chunks, names, strict=True):
        for name, one in zip(asked, chunk.asked, strict=True):
            first.setdefault(name, (one.shown, chunk.weights))
    made: list[Pictures] = []
    file_of: dict[tuple[str, ...], str] = {}
    for tower in dict.fromkeys(name[0] for name in first):
        shown = [name for name in first if name[0] == tower]
        for number, part in enumerate(chunked(shown, size)):
            file = output.format(tower=tower, number=number)
            made.append(Pictures(tuple(first[name][0] for name in part), first[shown[0]][1], file))
            file_of |= dict.fromkeys(part, file)
    rows = [tuple(sorted({file_of[name] for name in asked})) for asked in names]
    return made, [replace(chunk, rows=files) for chunk, files in zip(chunks, rows, strict=True)]


def _picture(ref: SampleRef) -> tuple[str, ...]:
    """What names a sample's picture: questions about one item of a source show one."""
    return (ref.dataset, ref.source_digest, str(ref.item)) if ref.kind == "question" else (ref.dataset, ref.key)
