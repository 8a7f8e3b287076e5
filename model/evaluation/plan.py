"""The chunks of one evaluation: which samples are read, with whose pictures, by which weights. Reads JSON parts, no
tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from model.evaluation.metrics import parse_lines
from model.evaluation.select import chunked, derangement, fair_order, refuse_all_but_test
from pipelines.shards.index import SampleRef
from pipelines.shards.read import read_json

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Chunk:
    """What one call evaluates. ``model`` is the name in the figures, ``folder`` its weights. ``pictures[i]`` is the
    sample whose picture is shown for ``refs[i]`` (itself, or another for ``picture="wrong"``). ``output`` is the
    JSONL to write, ``rows`` are files of visual rows made before (``Pictures``)."""

    unit: str
    task: Literal["reading", "questions"]
    model: str
    folder: str
    refs: tuple[SampleRef, ...]
    pictures: tuple[SampleRef, ...]
    output: str
    max_new_tokens: int
    precision: Precision = "fp32"
    picture: Literal["right", "wrong"] = "right"
    rows: tuple[str, ...] = ()
    threads: int = 1


@dataclass(frozen=True)
class Pictures:
    """Samples whose pictures one call turns into visual rows with the weights of ``folder``; ``output`` is the safetensors
    to write."""

    refs: tuple[SampleRef, ...]
    folder: str
    output: str
    precision: Precision = "fp32"
    threads: int = 1


@dataclass(frozen=True)
class Chosen:
    """Samples of the reading task in fair order, and how many regions a completion must number in each."""

    refs: tuple[SampleRef, ...]
    lines: tuple[int, ...]
    low_regions: int


def asked_regions(sample: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The regions whose number stands in the target; the others were not asked for."""
    asked = parse_lines(sample["messages"][-1]["content"])
    return [region for region in sample["meta"]["regions"] if int(region["index"]) in asked]


def choose_reading(refs: Sequence[SampleRef], families: Sequence[str], low_regions: int, seed: int) -> Chosen:
    """Test samples of some families in fair order until they hold ``low_regions`` low-corruption regions, or all.

    Samples without a low region are left out: levels are drawn region by region, so that favours no picture, and it
    saves a third of the decoding. Moderate and high regions are measured where they stand beside a low one.
    May be empty. Raises DataError for a sample of another split."""
    refuse_all_but_test(refs)
    chosen, lines, low = [], [], 0
    for ref in fair_order(refs, seed):
        if low >= low_regions:
            break
        sample = read_json(ref)
        regions = asked_regions(sample)
        easy = sum(region["level"] == "low" for region in regions)
        if sample["meta"].get("family") not in families or not easy:
            continue
        chosen.append(ref)
        lines.append(len(regions))
        low += easy
    return Chosen(tuple(chosen), tuple(lines), low)


def reading_chunks(chosen: Chosen, model: str, folder: str, size: int, **settings: Any) -> Iterator[Chunk]:
    """Every sample with its own picture and with another page's; only the former where one page holds more than half of
    the samples. ``settings`` are the fields of ``Chunk`` all share."""
    shown_pictures = {"right": chosen.refs}
    pages = [(ref.source_digest, ref.item) for ref in chosen.refs]
    if 2 * max(Counter(pages).values(), default=1) <= len(pages):
        shown_pictures["wrong"] = tuple(chosen.refs[index] for index in derangement(pages, chosen.lines))
    for picture, pictures in shown_pictures.items():
        pairs = list(zip(chosen.refs, pictures, strict=True))
        for number, part in enumerate(chunked(pairs, size)):
            unit = f"reading-{model}-{picture}-{number:03d}"
            refs, shown = tuple(pair[0] for pair in part), tuple(pair[1] for pair in part)
            yield _chunk(unit, "reading", model, folder, refs, shown, settings, picture=picture)


def choose_questions(refs: Sequence[SampleRef], items: int, seed: int) -> dict[str, tuple[SampleRef, ...]]:
    """Mode -> at most ``items`` test questions in fair order. The mode is the sample's tag when it has one, else its
    JSON."""
    refuse_all_but_test(refs)
    found: dict[str, list[SampleRef]] = {"short": [], "long": []}
    for ref in fair_order(refs, seed):
        if all(len(part) >= items for part in found.values()):
            break
        mode = next((tag for tag in ref.tags if tag in found), None) or read_json(ref)["mode"]
        if mode in found and len(found[mode]) < items:
            found[mode].append(ref)
    return {mode: tuple(part) for mode, part in found.items() if part}


def question_chunks(
    chosen: Mapping[str, Sequence[SampleRef]], model: str, folder: str, size: int, **settings: Any
) -> Iterator[Chunk]:
    """The chosen questions of each mode, answered by one model."""
    for mode, refs in chosen.items():
        for number, part in enumerate(chunked(refs, size)):
            unit = f"questions-{model}-{mode}-{number:03d}"
            yield _chunk(unit, "questions", model, folder, part, part, settings)


def with_rows(
    chunks: Sequence[Chunk], towers: Mapping[str, str], size: int, output: str
) -> tuple[list[Pictures], list[Chunk]]:
    """What makes the visual rows of all pictures, each picture once for all models of one tower, and the chunks that read
    them. ``towers``: folder -> name of its tower and resampler; ``output``: path with ``{tower}`` and ``{number}``."""
    shown: dict[str, dict[tuple[str, ...], SampleRef]] = {}
    folder_of: dict[str, str] = {}
    for chunk in chunks:
        tower = towers[chunk.folder]
        folder_of.setdefault(tower, chunk.folder)
        for ref in chunk.pictures:
            shown.setdefault(tower, {}).setdefault(_picture(ref), ref)
    made: list[Pictures] = []
    file_of: dict[tuple[str, ...], str] = {}
    for tower, first in shown.items():
        for number, part in enumerate(chunked(list(first.items()), size)):
            file = output.format(tower=tower, number=number)
            made.append(Pictures(tuple(ref for _, ref in part), folder_of[tower], file, chunks[0].precision))
            file_of |= {(tower, *picture): file for picture, _ in part}
    reading = [
        replace(chunk, rows=tuple(sorted({file_of[towers[chunk.folder], *_picture(ref)] for ref in chunk.pictures})))
        for chunk in chunks
    ]
    return made, reading


def _picture(ref: SampleRef) -> tuple[str, ...]:
    """What names a sample's picture: questions about one item of a source show one."""
    return (ref.dataset, ref.source_digest, str(ref.item)) if ref.kind == "question" else (ref.dataset, ref.key)


def _chunk(
    unit: str, task: Any, model: str, folder: str, refs: Any, pictures: Any, settings: Any, **more: Any
) -> Chunk:
    output = settings["output"].format(unit=unit)
    return Chunk(unit, task, model, folder, refs, pictures, **{**settings, "output": output}, **more)
