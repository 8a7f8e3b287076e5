"""``sample_corpus``: documents, clips, pictures and text typeset by code, so that a clone needs no download. No inputs.

Out: ``documents/``, ``videos/``, ``images/``, ``text/``, ``questions/`` and ``corpus.jsonl`` with family and split of
every file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.core.identity import Identity, StageConfig
from pipelines.workflow.stage import Attempt, Inputs, stage
from toy.corpus.files import Row, write_lines

FOLDERS = ("documents", "videos", "images", "text", "questions")
Part = Literal["cards", "pages", "clips", "pictures", "texts"]


class SampleCorpus(StageConfig):
    """How many cards, and the seed of everything; ``parts`` leaves families out (tests, data-only users)."""

    seed: Identity[int] = 0
    train_cards: Identity[int] = Field(3600, ge=0)
    test_cards: Identity[int] = Field(400, ge=0)
    parts: Identity[tuple[Part, ...]] = ("cards", "pages", "clips", "pictures", "texts")


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
    from toy.corpus.cards import write_cards
    from toy.corpus.clips import write_clips
    from toy.corpus.pages import write_pages
    from toy.corpus.pictures import write_pictures
    from toy.corpus.texts import write_texts

    writers: dict[Part, Callable[[Path, int], list[Row]]] = {
        "cards": partial(write_cards, train_cards=config.train_cards, test_cards=config.test_cards),
        "pages": write_pages,
        "clips": write_clips,
        "pictures": write_pictures,
        "texts": write_texts,
    }
    rows: list[Row] = []
    finished = out.units()
    out.events.progress(0, len(config.parts), "parts")
    for number, part in enumerate(config.parts, 1):
        if part in finished:
            written = finished[part]["rows"]
        else:
            before = _files(out.dir)
            written = writers[part](out.dir, config.seed)
            out.commit_unit(part, {"files": sorted(_files(out.dir) - before), "rows": written})
        rows += written
        out.events.progress(number, len(config.parts), "parts")
    rows.sort(key=lambda row: row["file"])
    write_lines(out.dir / "corpus.jsonl", rows)
    return {
        "samples": len(rows),
        "files": dict(sorted(Counter(row["family"] for row in rows).items())),
        "splits": dict(sorted(Counter(row["split"] for row in rows).items())),
        "main_metric": ["files", len(rows)],
    }


def _files(folder: Path) -> set[str]:
    """Logical names of the files written so far, without those of the workflow."""
    found = (path for name in FOLDERS for path in (folder / name).rglob("*"))
    return {path.relative_to(folder).as_posix() for path in found if path.is_file()}
