"""Which samples are shown: a seeded draw that takes turns over families, and the rows that were left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cookhouse.preview.cards import Sampled, load
from pipelines.core.sandbox import SandboxError, kept_sandbox
from pipelines.core.seeds import generator
from pipelines.shards import inspect
from pipelines.shards.index import ShardFolder
from pipelines.shards.manifest import Row

EXAMPLES = 3  # rows shown of each way to be left out


@dataclass(frozen=True)
class LeftOut:
    """Rows of one status and category: how many, and some of them."""

    status: str
    category: str
    count: int
    examples: tuple[Row, ...]


@dataclass(frozen=True)
class Picked:
    """The samples of a sheet, the totals by status, and what was left out."""

    samples: tuple[Sampled, ...]
    counts: dict[str, int]
    left_out: tuple[LeftOut, ...]


def pick(
    folder: ShardFolder, count: int, seed: int, tags: Sequence[str], source: Callable[[Row, float], bytes | None]
) -> Picked:
    """``count`` written samples that carry all ``tags``: one of each (first tag, split) in turn, drawn by ``seed``."""
    rows = list(inspect.rows(folder))
    written = [row for row in rows if row.status == "ok" and set(tags) <= {*row.tags, row.split}]
    groups: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in written:
        groups[row.tags[0] if row.tags else "", row.split].append(row)
    queues = []
    for name, own in sorted(groups.items()):
        order = generator("preview", seed, *name).permutation(len(own))
        queues.append([own[i] for i in order])
    chosen: list[Row] = []
    while len(chosen) < count and any(queues):
        chosen += [queue.pop(0) for queue in queues if queue][: count - len(chosen)]
    samples = tuple(load(row, inspect.take(folder, row), partial(source, row)) for row in chosen)
    return Picked(samples, dict(Counter(row.status for row in rows)), _left_out(rows))


def _left_out(rows: Iterable[Row]) -> tuple[LeftOut, ...]:
    groups: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.status != "ok":
            groups[row.status, row.category or ""].append(row)
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(LeftOut(*name, len(own), tuple(own[:EXAMPLES])) for name, own in ranked)


class SourcePages:
    """Pages of source files, rendered again in a kept sandbox. ``place`` says where a source lies, None if nowhere."""

    def __init__(self, engine: str, place: Callable[[str], Path | None]) -> None:
        self.engine, self.place = engine, place

    def __call__(self, row: Row, scale: float) -> bytes | None:
        """The page of a row as JPEG at ``scale`` pixels a point; None when it cannot be had."""
        from pipelines.documents.engine import PageFailure, Render
        from pipelines.documents.extract import CHILD
        from pipelines.documents.sample import encode_jpeg

        path = self.place(row.source)
        if path is None or row.item < 0:
            return None
        render = Render(dpi=round(scale * 72), max_pixels=4_000_000)
        try:
            content = kept_sandbox(CHILD, 30.0, 2 << 30).call(
                "pages", self.engine, str(path), row.item, row.item + 1, render
            )
        except SandboxError:
            return None
        return None if isinstance(content, PageFailure) else encode_jpeg(content.image, 85)
