"""Stage ``evaluate``: what the trained models can do on the test split, with figures, predictions and a page.

In: ``documents`` and ``questions`` (shards), ``sft`` (weights) and, if there was RL, ``rl`` (``seed-*/model``).
Out: ``report.json``, ``report.html``, ``predictions/*.parquet`` and the JSONL they were gathered from.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.core.errors import DataError
from pipelines.core.identity import Identity, TaskConfig
from pipelines.workflow.stage import Artifact, Attempt, Inputs, stage


class Evaluate(TaskConfig):
    """``max_regions`` low-corruption regions of ``families`` are read with the right and with another page's picture;
    ``max_items_per_mode`` questions are answered in each mode by every model. ``batch_size`` counts samples a chunk,
    ``gallery`` the pictures shown in the page. ``bootstrap_draws`` and ``seed`` serve the choice and the
    bootstrap over items."""

    families: Identity[tuple[str, ...]] = ("card", "user")
    max_regions: Identity[int] = Field(540, ge=1)
    max_items_per_mode: Identity[int] = Field(400, ge=1)
    max_new_tokens: Identity[int] = Field(128, ge=1)
    batch_size: Identity[int] = Field(100, ge=1)
    precision: Identity[Literal["fp32", "bf16"]] = "fp32"
    bootstrap_draws: Identity[int] = Field(10_000, ge=1000)
    seed: Identity[int] = 0
    gallery: Identity[int] = Field(12, ge=0)


@stage(
    "evaluate",
    code_version=2,
    inputs=("documents", "questions", "sft"),
    optional_inputs=("rl",),
    engines=("torch", "transformers"),
    deterministic="numbers",
    limit=False,
    needs="train",
)
def evaluate_models(config: Evaluate, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Plan chunks, run those no earlier attempt finished, gather. Raises DataError for samples outside the test
    split."""
    from model.evaluation.pictures import run_pictures, visual_digest
    from model.evaluation.plan import choose_questions, choose_reading, question_chunks, reading_chunks, with_rows
    from model.evaluation.predictions import AnswerRow, RegionRow, read_rows, write_table
    from model.evaluation.report import render_report
    from model.evaluation.summary import bars, flat_metrics, question_figures, reading_figures
    from model.evaluation.tasks import run_chunk
    from pipelines.shards.index import ShardIndex

    documents = ShardIndex.from_artifacts(inputs["documents"]).select(split="test", kind="document")
    questions = ShardIndex.from_artifacts(inputs["questions"]).select(split="test", kind="question")
    models = model_folders(inputs)
    reading = choose_reading(documents, config.families, config.max_regions, config.seed)
    asked = choose_questions(questions, config.max_items_per_mode, config.seed)
    if not reading.refs and not any(asked.values()):
        raise DataError(
            f"nothing to evaluate: no test question, no document of {' or '.join(config.families)} with a low region",
            why=f"{len(documents)} test documents, {len(questions)} test questions",
            do="give more documents (some files are held out for the test by a hash), or name other families",
        )
    settings = {
        "output": str(out.dir / PART),
        "max_new_tokens": config.max_new_tokens,
        "precision": config.precision,
    }
    chunks = list(reading_chunks(reading, "sft", models["sft"], config.batch_size, **settings))
    for name, folder in models.items():
        chunks += question_chunks(asked, name, folder, config.batch_size, **settings)

    towers = {folder: visual_digest(folder) for folder in models.values()}
    pictures, chunks = with_rows(chunks, towers, config.batch_size, str(out.scratch / ROWS))
    finished = out.units()
    todo = [chunk for chunk in chunks if chunk.unit not in finished]
    if todo:
        out.events.progress(0, len(pictures), "pictures")
        for number, _ in enumerate(out.executor.map(run_pictures, pictures, config.task, at_once=config.workers), 1):
            out.events.progress(number, len(pictures), "pictures")
    seconds = 0.0
    out.events.progress(len(chunks) - len(todo), len(chunks), "chunks")
    done = out.executor.map(run_chunk, todo, config.task, at_once=config.workers)
    for number, (chunk, receipt) in enumerate(done, len(chunks) - len(todo) + 1):
        out.commit_unit(chunk.unit, {**receipt, "files": [PART.format(unit=chunk.unit)]})
        out.events.progress(number, len(chunks), "chunks")
        seconds += receipt["seconds"]

    parts = {
        task: [out.path(PART.format(unit=c.unit)) for c in chunks if c.task == task]
        for task in ("reading", "questions")
    }
    regions, answers = read_rows(RegionRow, parts["reading"]), read_rows(AnswerRow, parts["questions"])
    write_table(out.dir / "predictions" / "reading.parquet", RegionRow, regions)
    write_table(out.dir / "predictions" / "questions.parquet", AnswerRow, answers)

    figures = reading_figures(regions)
    answered = question_figures(answers, config.bootstrap_draws, config.seed)
    held = bars(figures, answered)
    metrics = flat_metrics(figures, answered, held)
    report = {
        "schema": 1,
        "title": f"{len(reading.refs)} test samples ({', '.join(config.families)}), models {', '.join(models)}",
        "bars": held,
        "reading": figures,
        "questions": answered,
        "notes": NOTES,
    }
    (out.dir / "report.json").write_text(json.dumps(_finite(report), indent=2, ensure_ascii=False), encoding="utf-8")
    shown = [*reading.refs[: config.gallery], *(ref for refs in asked.values() for ref in refs[: config.gallery // 2])]
    page = render_report(report, regions, answers, {ref.key: _picture(ref) for ref in shown})
    (out.dir / "report.html").write_text(page, encoding="utf-8")
    out.events.metrics(0, metrics)
    return {
        "samples": len(reading.refs) + sum(len(refs) for refs in asked.values()),
        "main_metric": ["cer_low", metrics.get("eval/cer/low")],
        "bars": [{name: bar[name] for name in ("name", "value", "printed", "bar", "shown", "why")} for bar in held],
        "chunks": len(chunks),
        "chunk_seconds": round(seconds, 1),
        "metrics": metrics,
    }


PART = "predictions/parts/{unit}.jsonl"
ROWS = "pictures/{tower}-{number:03d}.safetensors"

NOTES = """\
Test split only: words and fonts of test cards occur in no training sample. Decoding is greedy and free-running.
CER: Levenshtein distance in code points / reference length, pooled over regions, not capped.
The wrong picture's CER is capped at one error a character, so that rambling cannot widen the difference.
A region without its numbered line counts as empty.
Teacher-forced figures predict each character from the true ones before it and flatter the model.
Gain: the mean paired difference over the items, seed by seed.
Over seeds: Student's t; about another seed of RL on these items. What other items would change is not in it.
Over items: paired bootstrap, 2.5 and 97.5 percentiles; about other items like these and these very runs."""


def model_folders(inputs: Inputs) -> dict[str, str]:
    """Name in the figures -> folder of weights: ``sft``, then ``rl-seed-0``, ``rl-seed-1`` ... in order."""
    folders = {"sft": str(inputs.one("sft").path("model"))}
    tuned = inputs.optional("rl")
    if tuned is not None:
        for number in seeds_of(tuned):
            folders[f"rl-seed-{number}"] = str(tuned.path(f"seed-{number}/model"))
    return folders


def seeds_of(artifact: Artifact) -> list[int]:
    """The seeds an RL artifact holds weights of."""
    names = (re.match(r"seed-(\d+)/model/", name) for name in artifact.names)
    return sorted({int(match[1]) for match in names if match})


def _picture(ref: Any) -> Any:
    from model.evaluation.report import Picture
    from pipelines.shards.read import read_sample

    parts = read_sample(ref)
    name = next(
        name for name in sorted(parts) if Path(name).suffix in ("", ".jpg", ".png") and name.endswith(("jpg", "png"))
    )
    return Picture(parts[name], "image/png" if name.endswith("png") else "image/jpeg")


def _finite(value: Any) -> Any:
    """Plain JSON: a figure that was not measured (NaN) is null."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
