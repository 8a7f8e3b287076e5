"""Documents stage against a naive Ray Data script, NeMo Curator's page stage, and the sum of its own kernels.

    python -m benchmarks.documents [--rounds 3] [--parts naive,curator,kernels,memory,growth] [--full]

PDFs are made by code (``benchmarks.pages``), 20 files of 10 A4 pages (60 against peers), rendered at 150 dpi and
written as JPEG of quality 92 on every side that writes JPEG: in 4:4:4, and ours once more as ``recipe=data`` has it
(``jpeg_colour: compact``: one channel for pages without colour, which all of these are, 4:2:0 with coloured marks). Every
contestant runs in processes of its own; counts are exact, because a page that is dropped is the failure that a fast time
would hide. ``--full`` is what the bars are about: 20,000 pages of growth instead of 2,000. Ends with 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.documents_ours import DPI, QUALITY
from benchmarks.harness import Bar, Contestant, Row, compare, finish, run_command
from benchmarks.pages import make_pdfs
from benchmarks.peers import ROOT, find_peer

PARTS = ("naive", "curator", "kernels", "memory", "growth")
FILES, PAGES = 20, 10
MANY_FILES = 60  # against peers, where every side pays for a start
MEMORY_PASSES = 10
START = 20  # pages of the run whose cost is the start of the stage
CHEAP_FILE = 100


def ours(name: str, *words: str | Path, python: str = sys.executable) -> Contestant:
    return program(name, python, "benchmarks.documents_ours", *words)


def program(name: str, python: str | Path, module: str, *words: str | Path | int) -> Contestant:
    command = [str(python), "-m", module, *map(str, words)]
    return Contestant(name, lambda: run_command(command, env={"PYTHONPATH": str(ROOT)}))


def against_naive(pages: Path, warm: Path, rounds: int) -> tuple[list[Row], list[Bar]]:
    """Both on Ray with two CPUs, workers warm, corruption off."""
    naive = [
        program(
            f"naive Ray Data, {encoder}", sys.executable, "benchmarks.naive_ray", pages, warm, DPI, QUALITY, encoder
        )
        for encoder in ("pillow", "simplejpeg")
    ]
    rows = compare(
        [
            ours("cookhouse on Ray, corruption off, 4:4:4", "ray", pages, "full", warm),
            *naive,
            ours("cookhouse on Ray, corruption off, compact", "ray", pages, "compact", warm),
        ],
        "pages",
        {"pages": MANY_FILES * PAGES},
        rounds,
    )
    bars = [
        Bar("pages per core-second against naive Ray Data (Pillow), 4:4:4", rows[0].over(rows[1]), ">=", 1.5),
        Bar("the same, ours compact", rows[3].over(rows[1]), ">=", 1.5),
        Bar("the same, ours compact, the script with simplejpeg", rows[3].over(rows[2]), ">=", 1.5),
        Bar("object store over the run", rows[0].figures["object store MB"], "<=", 50, "MB"),
    ]
    return rows, bars


def against_curator(pages: Path, warm: Path, rounds: int) -> tuple[list[Row], list[Bar]]:
    """Both in one process with its child, ours with probe, corruption, shard and manifest."""
    python = find_peer("nemo-curator")
    name = "NeMo Curator PDFPreprocessStage"
    peer = (
        Contestant(name, None, python)
        if isinstance(python, str)
        else program(name, python, "benchmarks.curator_pages", pages, DPI)
    )
    both = [ours(f"cookhouse, corruption on, {colour}", "stage", pages, colour, warm) for colour in ("full", "compact")]
    rows = compare([*both, peer], "pages", {"pages": MANY_FILES * PAGES}, rounds)
    return rows, [
        Bar("pages per core-second against Curator's page stage, 4:4:4", rows[0].over(rows[2]), ">=", 6),
        Bar("the same, ours compact", rows[1].over(rows[2]), ">=", 6),
    ]


def against_kernels(pages: Path, rounds: int) -> tuple[list[Row], list[Bar]]:
    """A warm worker's units against rendering, words, corruption, encoding and writing alone."""
    rows = compare(
        [
            ours(f"{name}, {colour}", kind, pages, colour)
            for colour in ("full", "compact")
            for name, kind in (("a warm worker", "worker"), ("its kernels alone", "kernels"))
        ],
        "pages",
        {"pages": FILES * PAGES},
        rounds,
    )
    bars = [
        Bar("CPU time over the sum of its kernels, 4:4:4", rows[1].over(rows[0]), "<=", 1.15),
        Bar("the same, compact", rows[3].over(rows[2]), "<=", 1.15),
    ]
    for worker, kernels, name in ((rows[0], rows[1], "4:4:4"), (rows[2], rows[3], "compact")):
        named = 1000 / kernels.per_core_second + sum(
            kernels.figures[f"{part} ms/page"] for part in ("ink check", "layout")
        )
        ratio = 1000 / worker.per_core_second / named
        bars.append(Bar(f"with ink check and layout counted among the kernels, {name}", ratio, "<=", 1.15))
    return rows, bars


def memory(pages: Path) -> tuple[list[Row], list[Bar]]:
    """Resident memory of a worker with its child over 2,000 pages."""
    expected = {"pages": FILES * PAGES * MEMORY_PASSES}
    rows = compare([ours("one worker's memory", "memory", pages, str(MEMORY_PASSES))], "pages", expected, 1)
    return rows, [Bar("growth of resident memory", rows[0].figures["slope bytes/page"] / 1024, "<=", 4, "KiB/page")]


def growth(folder: Path, full: bool) -> tuple[list[Row], list[Bar]]:
    """Pages per core-second beyond the start of the stage (a run of ``START`` pages), for growing numbers of pages."""
    sizes = (200, 2_000, 20_000) if full else (200, 2_000)
    made = make_pdfs(folder / "cheap", sizes[-1] // CHEAP_FILE, CHEAP_FILE, cheap=True)
    (start,) = make_pdfs(folder / "start", 1, START, cheap=True)
    warm = start.parent
    (first,) = compare([ours(f"{START} small pages", "cheap", warm, warm)], "pages", {"pages": START}, 5)
    rows = []
    for size in sizes:
        part = folder / f"cheap-{size}"
        part.mkdir(exist_ok=True)
        for path in made[: size // CHEAP_FILE]:
            if not (part / path.name).exists():
                os.link(path, part / path.name)
        rounds = 5 if size == sizes[0] else 1
        (row,) = compare([ours(f"{size:,} small pages", "cheap", part, warm)], "pages", {"pages": size}, rounds)
        beyond = (size - START) / (row.cpu_s - first.cpu_s)
        rows.append(replace(row, rounds=(beyond,), per_core_second=beyond))
    speeds = [row.per_core_second for row in rows]
    return rows, [Bar("spread of pages per core-second over sizes", max(speeds) / min(speeds), "<=", 1.10)]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    parser.add_argument("--full", action="store_true", help="growth up to 20,000 pages")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "cookhouse-benchmark-pages")
    given = parser.parse_args(arguments)
    wanted = given.parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no part named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    pages, warm = given.folder / "text", given.folder / "warm"
    many = given.folder / "many"
    make_pdfs(pages, FILES, PAGES)
    make_pdfs(many, MANY_FILES, PAGES, seed=2)
    make_pdfs(warm, 4, PAGES, seed=1)
    code = 0
    for part in wanted:
        if part == "naive":
            rows, bars = against_naive(many, warm, given.rounds)
        elif part == "curator":
            rows, bars = against_curator(many, warm, given.rounds)
        elif part == "kernels":
            rows, bars = against_kernels(pages, given.rounds)
        elif part == "memory":
            rows, bars = memory(pages)
        else:
            rows, bars = growth(given.folder, given.full)
        code = max(code, finish(f"documents/{part}", rows, bars, "pages"))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
