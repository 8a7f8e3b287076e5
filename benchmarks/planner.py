"""Simulation of the documents planner at scale: spans, units and ``plan.parquet`` for files that exist only as names.

    python -m benchmarks.planner --files 10000000 --pages 10

Prints one JSON line: counts (asserted: every page is in exactly one unit), CPU seconds of each part, peak resident
memory, size of the plan. The driver's own work only; probing (opening files) is done by workers."""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from pipelines.core.seeds import split_of
from pipelines.documents.config import DocumentShards
from pipelines.documents.plan import Bounds, plan_pages, spans_of, write_plan
from pipelines.shards.plan import SourceItem


def simulate(files: int, pages: int, unit_cost: int) -> dict[str, float]:
    """Plan ``files`` files of 1 to 2 * ``pages`` - 1 pages each (on average ``pages``)."""
    settings = DocumentShards.model_validate({"unit_cost": unit_cost})
    took: dict[str, float] = {}
    clock = time.process_time()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.process_time()
        took[name], clock = round(now - clock, 2), now

    items = []
    counts: dict[str, int] = {}
    for number in range(files):
        name, digest = f"{number // 1000:05d}/{number:09d}.pdf", f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4
        items.append(SourceItem(f"/data/{name}", name, 1_000_000, digest, split_of(digest, 0)))
        counts[name] = 1 + number % (2 * pages - 1)
    lap("listing_s")
    spans = spans_of(items, counts, settings.max_pages)  # type: ignore[arg-type]
    lap("spans_s")
    bounds = Bounds(settings.unit_cost, settings.unit_samples, settings.unit_bytes, settings.max_pixels)
    units = plan_pages(spans, bounds, settings.views_per_page)
    lap("units_s")
    planned = sum(span.pages for unit in units for span in unit.spans)
    assert planned == sum(counts.values()), "a page is lost or planned twice"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.parquet"
        write_plan(path, units)
        lap("file_s")
        size = path.stat().st_size
    largest = max(sum(span.pages for span in unit.spans) for unit in units)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    facts = {"files": files, "pages": planned, "shards": len(units), "most_pages_a_shard": largest}
    return facts | took | {"peak_gib": round(peak, 2), "plan_mb": round(size / 1e6, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--pages", type=int, default=10, help="pages a file on average")
    parser.add_argument(
        "--unit-cost", type=int, default=8 * 1000, help="8 a page: the default is about 1,000 pages a shard"
    )
    given = parser.parse_args()
    print(json.dumps(simulate(given.files, given.pages, given.unit_cost)))


if __name__ == "__main__":
    main()
