"""``sample_corpus``: documents, clips, pictures and text typeset by code, so that a clone needs no download. No inputs.

Out: ``documents/``, ``videos/``, ``images/``, ``text/``, ``questions/`` and ``corpus.jsonl`` with family and split of
every file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.core.identity import Identity, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage

Rows = list[dict[str, Any]]


class SampleCorpus(StageConfig):
    """How many cards, and the seed of everything; ``parts`` leaves families out (tests, data-only users)."""

    seed: Identity[int] = 0
    train_cards: Identity[int] = Field(3600, ge=0)
    test_cards: Identity[int] = Field(400, ge=0)
    parts: Identity[tuple[str, ...]] = ("cards", "pages", "clips", "pictures", "texts")


def corpus_fonts(config: SampleCorpus) -> dict[str, str]:
    """The faces come from a package of their own."""
    from pipelines.workflow.probe import engine_version

    return {"fonts": engine_version("pymupdf-fonts")}


@stage(
    "sample_corpus",
    code_version=2,
    engines=("pymupdf", "numpy", "pillow", "av"),
    deterministic="bytes",
    tool_digest=corpus_fonts,
    uses_ray=False,
    limit=False,
    needs="data",
)
def build_sample_corpus(config: SampleCorpus, inputs: Inputs, out: Attempt) -> dict[str, Any]:
    """Write the parts one by one; each is a unit, so an interrupted run keeps the finished ones."""
    rows: Rows = []
    finished = out.units()
    out.events.progress(0, len(config.parts), "parts")
    for number, part in enumerate(config.parts, 1):
        if part in finished:
            written = finished[part]["rows"]
        else:
            before = _files(out.dir)
            written = _writer(part, config)(out.dir)
            out.commit_unit(part, {"files": sorted(_files(out.dir) - before), "rows": written})
        rows += written
        out.events.progress(number, len(config.parts), "parts")
    rows.sort(key=lambda row: row["file"])
    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    (out.dir / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    families = Counter(row["family"] for row in rows)
    return {
        "samples": len(rows),
        "files": dict(sorted(families.items())),
        "splits": dict(sorted(Counter(row["split"] for row in rows).items())),
        "main_metric": ["files", len(rows)],
    }


def _writer(part: str, config: SampleCorpus) -> Callable[[Path], Rows]:
    """The function that writes one part; imported here because each brings its own library."""
    if part == "cards":
        from toy.corpus.cards import write_cards

        return lambda folder: write_cards(folder, config.seed, config.train_cards, config.test_cards)
    if part == "pages":
        from toy.corpus.pages import write_pages

        return lambda folder: write_pages(folder, config.seed)
    if part == "clips":
        from toy.corpus.clips import write_clips

        return lambda folder: write_clips(folder, config.seed)
    if part == "pictures":
        from toy.corpus.pictures import write_pictures

        return lambda folder: write_pictures(folder, config.seed)
    if part == "texts":
        from toy.corpus.texts import write_texts

        return lambda folder: write_texts(folder, config.seed)
    raise ValueError(f"the corpus has no part {part!r}")


def _files(folder: Path) -> set[str]:
    """Logical names of the files written so far, without those of the workflow."""
    own = ("documents", "videos", "images", "text", "questions")
    return {
        path.relative_to(folder).as_posix() for name in own for path in (folder / name).rglob("*") if path.is_file()
    }
