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
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from model.decode import generate
from model.evaluation.chunks import Chunk
from model.evaluation.pictures import load, pictures_of, rows_for, shown_pictures
from model.evaluation.rows import write_rows
from model.evaluation.select import refuse_all_but_test
from model.evaluation.task import Said
from model.minicpmv import MiniCPMV
from model.pack import Encoded, pack
from model.processor import Processor
from model.tokenizer import special_ids
from pipelines.shards.read import read_sample

FORCED_AT_ONCE = 32
"""Samples of one teacher-forced pass."""


def run_chunk(chunk: Chunk) -> dict[str, Any]:
    """Evaluate a chunk, write its rows, return {unit, rows, tokens, seconds}. Raises DataError for a sample that is not
    of the test split or holds no picture, ConfigError for a device that is not here."""
    started = time.perf_counter()
    refuse_all_but_test(asked.ref for asked in chunk.asked)
    model, processor = load(chunk.weights)
    samples = [json.loads(read_sample(asked.ref)["json"]) for asked in chunk.asked]
    pictures = [shown_pictures(s, pictures_of(one.shown)) for s, one in zip(samples, chunk.asked, strict=True)]
    asks = [(messages, images, mode) for (messages, mode), images in zip(map(chunk.task.prompt, samples), pictures)]
    with torch.inference_mode():
        prompts = processor.encode_batch(asks, generation=True)
        rows_of = rows_for(model, chunk.rows, prompts, pictures)
        completions = _complete(model, processor, prompts, rows_of, chunk.max_new_tokens)
        if chunk.asked[0].variant in chunk.task.forced:
            tokens = _forced(model, processor, samples, pictures, rows_of)
            completions = [replace(said, forced=found) for said, found in zip(completions, tokens, strict=True)]
    told = zip(chunk.asked, samples, completions, strict=True)
    rows = [row for one, sample, said in told for row in chunk.task.score(chunk.model, one, sample, said)]
    write_rows(chunk.output, rows)
    spent = sum(said.tokens for said in completions)
    return {"unit": chunk.unit, "rows": len(rows), "tokens": spent, "seconds": round(time.perf_counter() - started, 3)}


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


def _forced(
    model: MiniCPMV,
    processor: Processor,
    samples: Sequence[Mapping[str, Any]],
    pictures: Sequence[Mapping[str, Any]],
    rows_of: Sequence[Tensor],
) -> list[tuple[tuple[str, float, bool], ...]]:
    """Per sample the tokens of its target: text, nats, whether the likeliest token was the right one."""
    result: list[tuple[tuple[str, float, bool], ...]] = []
    for start in range(0, len(samples), FORCED_AT_ONCE):
        end = start + FORCED_AT_ONCE
        group = list(zip(samples[start:end], pictures[start:end], strict=True))
        encoded = processor.encode_batch([(s["messages"], images, s["mode"]) for s, images in group])
        with model.giving(rows_of[start:end]):
            supervised = model(pack(encoded))
        losses = (-supervised.logprobs()).tolist()
        hits = (supervised.logits.argmax(-1) == supervised.targets).tolist()
        per_sample: list[list[tuple[str, float, bool]]] = [[] for _ in group]
        owners = zip(supervised.targets.tolist(), supervised.sample.tolist(), losses, hits, strict=True)
        for token, owner, loss, hit in owners:
            per_sample[owner].append((processor.decode([token]), loss, hit))
        result.extend(map(tuple, per_sample))
    return result
