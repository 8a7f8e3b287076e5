"""Our documents stage as a contestant: what ``benchmarks.documents`` starts in processes of their own.

python -m benchmarks.documents_ours ray FOLDER COLOUR WARM_UP      the stage on Ray, corruption off
python -m benchmarks.documents_ours stage FOLDER COLOUR WARM_UP    the stage in one process, corruption on
python -m benchmarks.documents_ours kernels FOLDER COLOUR          render, words, corruption, encode, write alone
python -m benchmarks.documents_ours worker FOLDER COLOUR           a warm worker's units, corruption on
python -m benchmarks.documents_ours memory FOLDER PASSES           resident memory of worker and child, unit by unit
python -m benchmarks.documents_ours cheap FOLDER WARM_UP           the stage in one process on small pages

COLOUR is ``jpeg_colour``: full or compact.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import Meter, Usage, emit, slope, tree_rss
from pipelines.core.sandbox import close_sandboxes
from pipelines.corruption import view
from pipelines.documents import build, sample
from pipelines.documents.build import PageJob, build_page_unit
from pipelines.documents.config import DocumentShards
from pipelines.documents.plan import Bounds, PageUnit, Span, plan_pages
from pipelines.shards.manifest import read_manifest
from pipelines.shards.plan import SourceItem
from pipelines.shards.read import parse_sample, read_range
from pipelines.shards.unit import write_unit

DPI = 150
MAX_PIXELS = 4_000_000  # A4 at 150 dpi is not capped, as it is not on the other side
QUALITY = 92
UNIT_COST = 400  # fifty pages: several units of 200 pages; what runs 600 has the default


@contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    try:
        yield folder
    finally:
        close_sandboxes()
        shutil.rmtree(folder, ignore_errors=True)


def settings(**more: object) -> DocumentShards:
    fixed = {"dpi": DPI, "max_pixels": MAX_PIXELS, "jpeg_quality": QUALITY, "ocr": False, "unit_cost": UNIT_COST}
    return DocumentShards.model_validate({**fixed, **more})


def run_stage(folder: str, store: Path, **more: object) -> int:
    """The whole stage: probe, plan, units, commit. Returns the pages written."""
    from cookhouse.stages.documents import DocumentShards, build_document_shards
    from tests.workflow.stage_runs import run_stage_inprocess

    config = DocumentShards.model_validate({**settings(**more).model_dump(), "source": folder, "workers": 2})
    return run_stage_inprocess(build_document_shards, config, {}, store).stats["ok"]


def store_bytes() -> int:
    """Bytes ever put into Ray's object store."""
    import ray
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    reply = get_memory_info_reply(get_state_from_address(ray.get_runtime_context().gcs_address))
    return reply.store_stats.cumulative_created_bytes


def on_ray(folder: str, colour: str, warm: str) -> None:
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with scratch() as store:
            run_stage(warm, store / "warm", target="parser", jpeg_colour=colour, unit_cost=80)  # units for every worker
            before = store_bytes()
            with Meter() as meter:
                pages = run_stage(folder, store / "pages", target="parser", jpeg_colour=colour, unit_cost=1200)
            emit({"pages": pages}, meter.usage, {"object store MB": (store_bytes() - before) / 1e6})
    finally:
        ray.shutdown()


def in_one_process(folder: str, warm: str, **more: object) -> None:
    """Twice: the first time, which is not measured, imports modules. The child is started anew."""
    with scratch() as store:
        run_stage(warm, store / "warm", **more)
        with Meter() as meter:
            pages = run_stage(folder, store / "pages", **more)
    emit({"pages": pages}, meter.usage)


def plan(folder: str) -> list[PageUnit]:
    """Units of all files of a folder, without the probe."""
    import pymupdf

    spans = []
    for path in sorted(Path(folder).glob("*.pdf")):
        item = SourceItem(
            str(path), path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest(), "train"
        )
        with pymupdf.open(path) as document:
            spans.append(Span(item, 0, document.page_count))
    return plan_pages(spans, Bounds(UNIT_COST, 10_000, 1 << 29, MAX_PIXELS), 1)


def warm_worker(folder: str, colour: str) -> None:
    units, used = plan(folder), settings(jpeg_colour=colour)
    with scratch() as out:
        build_page_unit(PageJob(units[0], used), out)
        with Meter() as meter:
            pages = sum(build_page_unit(PageJob(unit, used), out)["counts"]["ok"] for unit in units)
    emit({"pages": pages}, meter.usage)


class Stopwatch:
    """CPU seconds of this process inside chosen functions, by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            start = time.process_time()
            value = function(*args, **named)
            self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - start
            return value

        return call


def kernels(folder: str, colour: str) -> None:
    """CPU seconds of the five things that must be done: corruption and encoding are timed inside a real run, rendering
    and words alone on the same pages, writing once more with the samples of that run. Ink check and layout, which lie
    between words and corruption, are timed beside them and not counted."""
    import pymupdf

    units, used, watch, between = plan(folder), settings(jpeg_colour=colour), Stopwatch(), Stopwatch()
    space = pymupdf.csGRAY if colour == "compact" else pymupdf.csRGB  # the benchmark's pages have no colour
    start = time.perf_counter()
    pages = 0
    with scratch() as out:
        build_page_unit(PageJob(units[0], used), out)
        view.corrupt_page = watch.timed("corruption", view.corrupt_page)
        view.damage = watch.timed("corruption", view.damage)  # of grey pages
        sample.encode_jpeg = watch.timed("encode", sample.encode_jpeg)
        build.visible_words = between.timed("ink check", build.visible_words)
        build.find_regions = between.timed("layout", build.find_regions)
        write = watch.timed("write", write_unit)
        load = watch.timed("render", lambda document, number: document[number])
        matrix = pymupdf.Matrix(DPI / 72, DPI / 72)
        render = watch.timed("render", lambda page: page.get_pixmap(matrix=matrix, colorspace=space))
        words = watch.timed("words", lambda page: page.get_text("words"))
        for unit in units:
            build_page_unit(PageJob(unit, used), out)
            rows = read_manifest(out / "manifest" / f"{unit.name}.parquet")
            shard = str(out / "shards" / f"{unit.name}.tar")
            parts = [parse_sample(read_range(shard, row.offset or 0, row.length or 0), row.key, shard) for row in rows]
            write(out / "again", unit.name, list(zip(rows, parts, strict=True)))
            pages += len(rows)
            for span in unit.spans:
                with pymupdf.open(span.source.path) as document:
                    for number in range(span.first, span.last):
                        page = load(document, number)
                        render(page)
                        words(page)
    spent = [*sorted(watch.spent.items()), *sorted(between.spent.items())]
    figures = {f"{name} ms/page": 1000 * seconds / pages for name, seconds in spent}
    emit({"pages": pages}, Usage(sum(watch.spent.values()), time.perf_counter() - start, 0), figures)


def memory(folder: str, passes: int) -> None:
    """Resident bytes after every unit of one worker and its child; the slope leaves the first third out."""
    units, used = plan(folder), settings()
    points: list[tuple[float, float]] = []
    pages = 0
    with scratch() as out, Meter() as meter:
        for turn in range(passes):
            for unit in units:
                named = replace(unit, name=f"{unit.name}-{turn}")
                pages += build_page_unit(PageJob(named, used), out)["counts"]["ok"]
                (out / "shards" / f"{named.name}.tar").unlink()
                points.append((pages, float(tree_rss(os.getpid()))))
    late = points[len(points) // 3 :]
    figures = {"slope bytes/page": slope(late), "resident MB": late[-1][1] / 1e6}
    emit({"pages": pages}, meter.usage, figures)


if __name__ == "__main__":
    kind, given = sys.argv[1], sys.argv[2]
    if kind == "ray":
        on_ray(given, sys.argv[3], sys.argv[4])
    elif kind == "stage":
        in_one_process(given, sys.argv[4], jpeg_colour=sys.argv[3], unit_cost=1200)
    elif kind == "cheap":
        in_one_process(given, sys.argv[3], dpi=72, unit_cost=1200)
    elif kind == "kernels":
        kernels(given, sys.argv[3])
    elif kind == "worker":
        warm_worker(given, sys.argv[3])
    elif kind == "memory":
        memory(given, int(sys.argv[3]))
    else:
        raise SystemExit(f"no contestant named {kind!r}")
