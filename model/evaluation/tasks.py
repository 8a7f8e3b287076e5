"""Run one model over one chunk of test samples and write the rows: greedy decoding, the way a user would meet it.

A chunk is a small picklable record, so the same function runs in this process, in a Ray task or on another machine; the
model is kept between the chunks of one process. Free-running figures come from ``generate``; the teacher-forced figures
beside them come from one forward pass over prompt and target, where each character is predicted from the true ones
before it, and so flatter the model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from PIL import Image

from model.checkpoint import load_model
from model.decode import generate
from model.evaluation.metrics import answer_of, compare_text, judge, parse_lines
from model.evaluation.plan import Chunk, asked_regions
from model.evaluation.predictions import AnswerRow, RegionRow, write_rows
from model.evaluation.select import refuse_all_but_test
from model.minicpmv import MiniCPMV
from model.pack import pack
from model.processor import Processor
from model.tokenizer import special_ids
from pipelines.core.errors import DataError
from pipelines.shards.index import SampleRef
from pipelines.shards.read import decode_parts, pictures_shown, read_sample

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def run_chunk(chunk: Chunk) -> dict[str, Any]:
    """Evaluate a chunk, write its rows, return {unit, rows, tokens, seconds}. Raises DataError for a sample that is not
    of the test split or holds no picture."""
    started = time.perf_counter()
    refuse_all_but_test(chunk.refs)
    torch.set_num_threads(chunk.threads)
    model, processor = _load(chunk.folder, chunk.precision)
    samples = [json.loads(read_sample(ref)["json"]) for ref in chunk.refs]
    pictures = [_pictures(ref) for ref in chunk.pictures]
    with torch.inference_mode():
        completions = _complete(model, processor, samples, pictures, chunk.max_new_tokens)
        rows: list[Any] = []
        if chunk.task == "questions":
            for ref, sample, said in zip(chunk.refs, samples, completions, strict=True):
                rows.append(_answer_row(chunk.model, ref, sample, said))
        else:
            forced = _forced(model, processor, samples, pictures) if chunk.picture == "right" else [{}] * len(samples)
            for ref, shown, sample, said, scores in zip(
                chunk.refs, chunk.pictures, samples, completions, forced, strict=True
            ):
                rows.extend(_region_rows(chunk, ref, shown, sample, said, scores))
    write_rows(chunk.output, rows)
    tokens = sum(said.tokens for said in completions)
    return {"unit": chunk.unit, "rows": len(rows), "tokens": tokens, "seconds": round(time.perf_counter() - started, 3)}


@dataclass(frozen=True)
class Said:
    """A decoded completion: text without special tokens, its length in tokens, whether it ended by itself."""

    text: str
    tokens: int
    finished: bool


@lru_cache(maxsize=1)
def _load(folder: str, precision: str) -> tuple[MiniCPMV, Processor]:
    model, processor = load_model(folder, dtype=PRECISIONS[precision])
    model.eval()
    return model, processor


def _pictures(ref: SampleRef) -> dict[str, Image.Image]:
    found = decode_parts({name: data for name, data in read_sample(ref).items() if name.endswith(("jpg", "png"))})
    if not found:
        raise DataError(
            f"test sample {ref.key!r} holds no picture", where=ref.shard, do="evaluate samples with pictures"
        )
    return found


def shown_pictures(sample: Mapping[str, Any], pictures: Mapping[str, Image.Image]) -> Mapping[str, Image.Image]:
    """The pictures under the part names this sample asks for; another sample's single picture takes the single name.
    Raises DataError when that is not possible."""
    wanted = pictures_shown(sample["messages"])
    if set(wanted) <= set(pictures):
        return pictures
    if len(wanted) == 1 and len(pictures) == 1:
        return {wanted[0]: next(iter(pictures.values()))}
    raise DataError(f"a sample asks for pictures {wanted}, the other holds {sorted(pictures)}")


def _complete(
    model: MiniCPMV,
    processor: Processor,
    samples: Sequence[Mapping[str, Any]],
    pictures: Sequence[Mapping[str, Image.Image]],
    max_new_tokens: int,
) -> list[Said]:
    ids = special_ids(processor.tokenizer)
    shown = zip(samples, pictures, strict=True)
    prompts = processor.encode_batch(
        [(sample["messages"][:-1], shown_pictures(sample, images), sample["mode"]) for sample, images in shown],
        generation=True,
    )
    groups = generate(model, prompts, max_new_tokens=max_new_tokens, eos_ids=ids.eos, forbid=ids.visual)
    said = []
    for (completion,) in groups:
        kept = [token for token in completion.token_ids if token not in ids.eos]
        said.append(Said(processor.decode(kept), len(completion.token_ids), completion.finish != "length"))
    return said


def _region_rows(
    chunk: Chunk, ref: SampleRef, shown: SampleRef, sample: Mapping[str, Any], said: Said, forced: Mapping[int, tuple]
) -> list[RegionRow]:
    lines = parse_lines(said.text)
    rows = []
    for region in asked_regions(sample):
        number = int(region["index"])
        reading = compare_text(lines.get(number, ""), region["text"])
        nll, correct, chars = forced.get(number, (None, None, None))
        rows.append(
            RegionRow(
                model=chunk.model,
                picture=chunk.picture,
                key=ref.key,
                picture_key=shown.key,
                region=number,
                level=region["level"],
                truth=region["text"],
                prediction=lines.get(number),
                edits=reading.edits,
                length=reading.length,
                completion_tokens=said.tokens,
                finished=said.finished,
                forced_nll=nll,
                forced_correct=correct,
                forced_chars=chars,
            )
        )
    return rows


def _answer_row(model: str, ref: SampleRef, sample: Mapping[str, Any], said: Said) -> AnswerRow:
    meta, mode = sample["meta"], sample["mode"]
    thought, answer = answer_of(said.text, mode)
    question = "".join(part["text"] for part in sample["messages"][-2]["content"] if part["type"] == "text")
    return AnswerRow(
        model=model,
        mode=mode,
        key=ref.key,
        item=f"{ref.source_digest[:12]}-{ref.item}",
        question_kind=meta["question_kind"],
        verifier=meta["verifier"],
        question=question.strip(),
        truth=str(meta["answer"]),
        answer=answer,
        thought=thought,
        verdict=judge(answer, str(meta["answer"]), meta["verifier"]),
        completion_tokens=said.tokens,
        finished=said.finished,
    )


def _forced(
    model: MiniCPMV,
    processor: Processor,
    samples: Sequence[Mapping[str, Any]],
    pictures: Sequence[Mapping[str, Image.Image]],
) -> list[dict[int, tuple[float, int, int]]]:
    """Per sample: region number -> (nats, characters of right tokens, characters), teacher-forced."""
    result: list[dict[int, tuple[float, int, int]]] = []
    for start in range(0, len(samples), 32):
        group = list(zip(samples[start : start + 32], pictures[start : start + 32], strict=True))
        encoded = processor.encode_batch([(s["messages"], shown_pictures(s, images), s["mode"]) for s, images in group])
        supervised = model(pack(encoded))
        losses = (-supervised.logprobs()).tolist()
        hits = (supervised.logits.argmax(-1) == supervised.targets).tolist()
        targets, owners = supervised.targets.tolist(), supervised.sample.tolist()
        per_sample: list[list[tuple[str, float, bool]]] = [[] for _ in group]
        for token, owner, loss, hit in zip(targets, owners, losses, hits, strict=True):
            per_sample[owner].append((processor.decode([token]), loss, hit))
        result.extend(by_line(tokens) for tokens in per_sample)
    return result


def by_line(tokens: Sequence[tuple[str, float, bool]]) -> dict[int, tuple[float, int, int]]:
    """Gather the target tokens (text, nats, hit) of ``"1: red\\n2: fox"`` by line number: nats and characters of the
    text after the number. A token's nats are shared among its characters evenly, the number and line end are free."""
    found: dict[int, list[float]] = {}
    line, column_text = 0, ""
    for text, loss, hit in tokens:
        for char in text:
            if char == "\n":
                line, column_text = 0, ""
                continue
            if line == 0:
                head, mark, _ = (column_text + char).partition(": ")
                column_text += char
                if mark and head.strip().isdigit():
                    line = int(head)
                continue
            cell = found.setdefault(line, [0.0, 0, 0])
            cell[0] += loss / len(text)
            cell[1] += int(hit)
            cell[2] += 1
    return {number: (cell[0], int(cell[1]), int(cell[2])) for number, cell in found.items()}
