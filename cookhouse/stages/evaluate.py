"""Stage ``evaluate``: what models can do on the test split, with figures, predictions and a page.

In: ``documents`` and ``questions`` (shards; at least one of them), ``models`` (results of pretrain, sft or rl steps) or a
model folder by its path. Out: ``report.json``, ``report.html``, ``predictions/*.parquet`` and the JSONL they were gathered
from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from pydantic_core import to_json

from model.evaluation.bars import Bar, hold
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.identity import Identity, Misfit, Record, Source, TaskConfig
from pipelines.workflow.stage import Attempt, Inputs, stage

if TYPE_CHECKING:
    from model.evaluation.rows import Row
    from model.evaluation.task import Asked, Task

PART = "predictions/parts/{unit}.jsonl"
ROWS = "pictures/{tower}-{number:03d}.safetensors"


class Compare(Record):
    """The model ``after`` (or all of ``{after}-seed-N``) against ``before``, by the names of their steps."""

    before: str
    after: str


class Evaluate(TaskConfig):
    """``max_regions`` low-corruption regions of ``families`` are read with the right and with another page's picture, by
    the first of ``models``; ``max_items_per_mode`` questions are answered in each mode by every model. ``model``: a
    folder in the released layout, evaluated in place of ``models``. ``bars`` are what the figures are held against.

    ``batch_size`` counts the samples of a decode batch, which is a unit, ``gallery`` the pictures shown in the page;
    ``bootstrap_draws`` and ``seed`` serve the choice and the bootstrap over items. With ``worker_gpus`` it runs on CUDA."""

    model: Source[str | None] = None
    families: Identity[tuple[str, ...]] = ("card", "user")
    max_regions: Identity[int] = Field(540, ge=1)
    max_items_per_mode: Identity[int] = Field(400, ge=1)
    max_new_tokens: Identity[int] = Field(128, ge=1)
    batch_size: Identity[int] = Field(50, ge=1)
    precision: Identity[Literal["fp32", "bf16"]] = "fp32"
    compare: Identity[Compare | None] = None
    bars: Identity[tuple[Bar, ...]] = ()
    bootstrap_draws: Identity[int] = Field(10_000, ge=1000)
    seed: Identity[int] = 0
    gallery: Identity[int] = Field(12, ge=0)

    def misfits(self, inputs: Mapping[str, tuple[str, ...]]) -> Iterable[Misfit]:
        """Something to ask, and somebody to answer."""
        if not inputs.get("documents") and not inputs.get("questions"):
            yield Misfit(("inputs",), "there is nothing to ask", "give inputs documents, questions or both")
        if self.model is None and not inputs.get("models"):
            yield Misfit(("inputs",), "there is no model", "give input models, or model: a folder")


@stage(
    "evaluate",
    code_version=3,
    optional_inputs=("documents", "questions", "models"),
    replaces={"model": "models"},
    engines=("torch", "transformers"),
    deterministic="numbers",
    limit=False,
    needs="train",
)
def evaluate_models(config: Evaluate, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Plan chunks, run those no earlier attempt finished, gather. Raises DataError for samples outside the test
    split."""
    from cookhouse.pages.report import render
    from model.evaluation.chunks import Weights, chunks_of, with_rows
    from model.evaluation.pictures import run_pictures, visual_digest
    from model.evaluation.rows import read_rows, write_table
    from model.evaluation.run import run_chunk

    models = model_folders(config, inputs, out.scratch)
    asked = ask(config, inputs)
    device, output = "cuda" if config.worker_gpus else "cpu", str(out.dir / PART)
    weights = {name: Weights(folder, config.precision, device) for name, folder in models.items()}
    chunks = [
        chunk
        for task, found in asked
        for name in (models if task.every_model else [*models][:1])
        for chunk in chunks_of(task, found, name, weights[name], config.batch_size, output, config.max_new_tokens)
    ]
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

    rows: list[Row] = []
    figures: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    for task, _ in asked:
        found = read_rows([out.path(PART.format(unit=c.unit)) for c in chunks if c.task.name == task.name])
        write_table(out.dir / "predictions" / f"{task.name}.parquet", found)
        figures[task.name] = task.aggregate(found)
        metrics |= task.metrics(figures[task.name])
        rows += found
    held = hold(config.bars, figures)
    metrics |= {"eval/bars_shown": float(sum(bar["shown"] for bar in held)), "eval/bars": float(len(held))}
    metrics = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
    samples = {task.name: list(dict.fromkeys(one.ref for one in found)) for task, found in asked}
    title = f"{sum(map(len, samples.values()))} test samples, models {', '.join(models)}"
    report = {"schema": 2, "title": title, "bars": held, "figures": figures, "notes": NOTES}
    (out.dir / "report.json").write_bytes(to_json(report, indent=2, inf_nan_mode="null"))  # not measured: null
    shown = [ref for refs in samples.values() for ref in refs[: config.gallery]]
    page = render(report, rows, {(ref.dataset, ref.key): _picture(ref) for ref in shown})
    (out.dir / "report.html").write_text(page, encoding="utf-8")
    out.events.metrics(0, metrics)
    return {
        "samples": sum(map(len, samples.values())),
        "main_metric": _main_metric(metrics),
        "bars": [{name: bar[name] for name in ("name", "value", "printed", "bar", "shown", "why")} for bar in held],
        "chunks": len(chunks),
        "chunk_seconds": round(seconds, 1),
        "metrics": metrics,
    }


NOTES = """\
Test split only: words and fonts of test cards occur in no training sample. Decoding is greedy and free-running.
CER: Levenshtein distance in code points / reference length, pooled over regions, not capped.
The wrong picture's CER is capped at one error a character, so that rambling cannot widen the difference.
A region without its numbered line counts as empty; an answer that was cut, or is not shaped as its mode asks, is none.
Teacher-forced figures predict each character from the true ones before it and flatter the model.
Gain: the mean paired difference over the items, seed by seed.
Over seeds: Student's t; about another seed of RL on these items. What other items would change is not in it.
Over items: paired bootstrap, 2.5 and 97.5 percentiles; about other items like these and these very runs."""


def ask(config: Evaluate, inputs: Inputs) -> list[tuple[Task, list[Asked]]]:
    """Each task whose samples are connected, with what it asks. Raises DataError when that is nothing at all."""
    from model.evaluation.questions import QuestionTask
    from model.evaluation.reading import ReadingTask
    from pipelines.shards.index import ShardIndex

    compare = config.compare or Compare(before="", after="")
    reading = ReadingTask(config.families, config.max_regions, config.seed)
    questions = QuestionTask(
        config.max_items_per_mode, config.seed, compare.before, compare.after, config.bootstrap_draws
    )
    found: list[tuple[Task, list[Asked]]] = []
    counts = []
    for task, port, kind in ((reading, "documents", "document"), (questions, "questions", "question")):
        if port in inputs:
            refs = ShardIndex.from_artifacts(inputs[port]).select(split="test", kind=kind)
            counts.append(f"{len(refs)} test {kind}s")
            found.append((task, task.select(refs)))  # type: ignore[arg-type]
    if not any(asked for _, asked in found):
        raise DataError(
            f"nothing to evaluate: no test question, no document of {' or '.join(config.families)} with a low region",
            why=", ".join(counts),
            do="give more documents (some files are held out for the test by a hash), or name other families",
        )
    return found


def model_folders(config: Evaluate, inputs: Inputs, scratch: Path) -> dict[str, str]:
    """Name in the figures -> folder of weights: of a given folder its name, of a step with one model the step's
    (``sft``), of one with several ``rl-seed-0``, ``rl-seed-1`` ... Raises ConfigError where there is no model."""
    if files := inputs.sources.get("model"):
        folder = scratch / "model"
        for file in files:  # wherever they lie, side by side
            (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.name).symlink_to(file.path)
        if not (folder / "config.json").is_file():
            raise ConfigError("there is no model here", where=str(config.model), why="it holds no config.json")
        return {Path(str(config.model)).name: str(folder)}
    folders = {}
    for artifact in inputs["models"]:
        names = {m[0] for name in artifact.names if (m := re.match(r"(seed-\d+/)?model(?=/)", name))}
        found = sorted(names, key=lambda name: int(re.sub(r"\D", "", name) or 0))
        if not found:
            raise ConfigError(f"step '{artifact.step}' made no model", do="give pretrain, sft or rl steps as models")
        for name in found:
            own = artifact.step if name == "model" else f"{artifact.step}-{name.partition('/')[0]}"
            folders[own] = str(artifact.path(name))
    return folders


def _main_metric(metrics: Mapping[str, float]) -> list[Any]:
    """The first figure there is: how low corruption was read, else how well questions were answered."""
    first = next((name for name in ("eval/cer/low", *metrics) if name in metrics), "eval/bars_shown")
    return ["cer_low" if first == "eval/cer/low" else first.removeprefix("eval/"), metrics.get(first)]


def _picture(ref: Any) -> bytes:
    from pipelines.shards.read import read_sample

    parts = read_sample(ref)
    return parts[next(name for name in sorted(parts) if name.endswith(("jpg", "png")))]
