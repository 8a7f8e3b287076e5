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
from typing import Any

import torch
from torch import Tensor

from model.decode import generate
from model.evaluation.metrics import answer_of, compare_text, judge, parse_lines
from model.evaluation.pictures import load, pictures_of, rows_for, shown_pictures
from model.evaluation.plan import Chunk, asked_regions
from model.evaluation.predictions import AnswerRow, RegionRow, write_rows
from model.evaluation.select import refuse_all_but_test
from model.minicpmv import MiniCPMV
from model.pack import Encoded, pack
from model.processor import Processor
from model.tokenizer import special_ids
from pipelines.shards.index import SampleRef
from pipelines.shards.read import read_sample


def run_chunk(chunk: Chunk) -> dict[str, Any]:
    """Evaluate a chunk, write its rows, return {unit, rows, tokens, seconds}. Raises DataError for a sample that is not
    of the test split or holds no picture."""
    started = time.perf_counter()
    refuse_all_but_test(chunk.refs)
    torch.set_num_threads(chunk.threads)
    model, processor = load(chunk.folder, chunk.precision)
    samples = [json.loads(read_sample(ref)["json"]) for ref in chunk.refs]
    pictures = [shown_pictures(sample, pictures_of(ref)) for sample, ref in zip(samples, chunk.pictures, strict=True)]
    with torch.inference_mode():
        prompts = processor.encode_batch(
            [(s["messages"][:-1], images, s["mode"]) for s, images in zip(samples, pictures, strict=True)],
            generation=True,
        )
        rows_of = rows_for(model, chunk.rows, prompts, pictures)
        completions = _complete(model, processor, prompts, rows_of, chunk.max_new_tokens)
        rows: list[Any] = []
        if chunk.task == "questions":
            for ref, sample, said in zip(chunk.refs, samples, completions, strict=True):
                rows.append(_answer_row(chunk.model, ref, sample, said))
        else:
            right = chunk.picture == "right"
            forced = _forced(model, processor, samples, pictures, rows_of) if right else [{}] * len(samples)
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


def _complete(
    model: MiniCPMV, processor: Processor, prompts: Sequence[Encoded], rows_of: Sequence[Tensor], max_new_tokens: int
) -> list[Said]:
    ids = special_ids(processor.tokenizer)
    with model.giving(rows_of):  # one batch: the rows given are those of all prompts
        groups = generate(
            model,
            prompts,
            max_new_tokens=max_new_tokens,
            eos_ids=ids.eos,
            forbid=ids.visual,
            batch_rows=len(prompts),
        )
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
    pictures: Sequence[Mapping[str, Any]],
    rows_of: Sequence[Tensor],
) -> list[dict[int, tuple[float, int, int]]]:
    """Per sample: region number -> (nats, characters of right tokens, characters), teacher-forced."""
    result: list[dict[int, tuple[float, int, int]]] = []
    for start in range(0, len(samples), 32):
        group = list(zip(samples[start : start + 32], pictures[start : start + 32], strict=True))
        encoded = processor.encode_batch([(s["messages"], images, s["mode"]) for s, images in group])
        with model.giving(rows_of[start : start + 32]):
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
