"""What the data stages share: list the inputs, plan units, and the loop over units with its ledger.

The loop skips the units an earlier attempt finished, maps the rest, commits each receipt as it comes, closes the books,
then fails if too much was quarantined. A job is a unit, the stage's settings as they are, and what tables say of it.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from pipelines.core.errors import DataError
from pipelines.core.sandbox import close_sandboxes
from pipelines.core.seeds import split_of
from pipelines.core.storage import sha256_of
from pipelines.shards.plan import SourceItem
from pipelines.shards.settings import ShardSettings
from pipelines.shards.unit import check_share, merge_counts
from pipelines.workflow.stage import Attempt, Inputs, SourceFile, stage

shard_stage = functools.partial(stage, deterministic="bytes", needs="data")
"""``@stage`` of one that writes shards: the same bytes every time."""
corpus_stage = functools.partial(shard_stage, optional_inputs=("sources",), replaces={"source": "sources"})
"""One that reads the sample corpus where the user gives no ``source``."""


class UnitJob(Protocol):
    """A unit, which has a ``name``, as it goes to a worker with all that decides its bytes."""

    @property
    def unit(self) -> Any: ...


Job = TypeVar("Job", bound=UnitJob)


@dataclass(frozen=True)
class Listing:
    """Files by relative name, and their rows of ``corpus.jsonl`` (family, declared split; none for a user's folder)."""

    files: Mapping[str, SourceFile]
    corpus: Mapping[str, Mapping[str, str]]
    where: str

    def names(self, suffixes: Sequence[str]) -> list[str]:
        """Names that end in one of ``suffixes``, sorted. Raises DataError if there is none."""
        found = [name for name in sorted(self.files) if PurePosixPath(name).suffix.lower() in suffixes]
        if not found:
            raise DataError(
                "no source files to work on",
                where=self.where,
                why=f"{len(self.files)} files there, none ends in {', '.join(suffixes)}",
                do="check the folder",
            )
        return found

    def beside(self, table: str, name: str) -> str:
        """The listed name that ``name``, said in the file ``table``, means: a name relative to the folder of the table
        or to the whole listing, else as it would be in the table's folder."""
        place = str(PurePosixPath(table).parent / name)
        return name if place not in self.files and name in self.files else place

    def item(self, name: str, split_seed: int, sidecars: Sequence[str] = ()) -> SourceItem:
        """The file as a planned source. A name that is not listed gives an item without bytes, which the stage
        quarantines. ``sidecars`` are suffixes: the first ``{stem}{suffix}`` that lies beside it is its sidecar."""
        file = self.files.get(name)
        row = self.corpus.get(name, {})
        if file is None:
            return SourceItem("", name, 0, "", row.get("split") or split_of(name, split_seed))
        sha256 = file.sha256
        if not sha256:
            with contextlib.suppress(OSError):  # a file that cannot be read has none
                sha256 = sha256_of(file.path)
        places = (self.files.get(str(PurePosixPath(name).with_suffix(suffix))) for suffix in sidecars)
        beside = next((place for place in places if place is not None), None)
        return SourceItem(
            address=file.uri,
            name=name,
            size=file.size,
            sha256=sha256,
            split=row.get("split") or split_of(sha256 or name, split_seed),
            family=row.get("family", ""),
            sidecar=beside.uri if beside else "",
        )

    def items(
        self, suffixes: Sequence[str], split_seed: int, limit: int | None = None, sidecars: Sequence[str] = ()
    ) -> list[SourceItem]:
        """Those of ``names``, the first ``limit`` of them."""
        return [self.item(name, split_seed, sidecars) for name in self.names(suffixes)[:limit]]


def missing_names(told: Iterable[str], names: Sequence[str], limit: int | None) -> list[str]:
    """What tables speak of and no file is called, sorted, for the stage to account for. Nothing when ``--limit`` was
    reached: then the files may only have been cut."""
    return [] if limit is not None and len(names) >= limit else sorted(set(told) - set(names))


def list_inputs(inputs: Inputs, folder: str = "", field: str = "source") -> Listing:
    """What a stage reads: the files under the path in ``field`` if set, else those under ``folder`` of the corpus."""
    if field in inputs.sources:
        return Listing({file.name: file for file in inputs.sources[field]}, {}, f"the path of {field}")
    artifact = inputs.one("sources")
    sizes, told = artifact.sizes, artifact.sha256
    names = [name for name in artifact.names if name.startswith(f"{folder}/" if folder else "")]
    files = {name: SourceFile(artifact.address(name), name, sizes[name], told.get(name, "")) for name in names}
    corpus: dict[str, dict[str, str]] = {}
    if "corpus.jsonl" in artifact.names:
        lines = artifact.path("corpus.jsonl").read_text(encoding="utf-8").splitlines()
        corpus = {row["file"]: row for row in map(json.loads, lines)}
    return Listing(files, corpus, f"{folder or 'the files'} of step {artifact.step}")


def make_shards(
    build: Callable[[Job, Path], dict[str, Any]], jobs: Sequence[Job], config: ShardSettings, out: Attempt, sources: int
) -> dict[str, Any]:
    """Build the units and close the books; the stage's statistics. Raises as ``shard_stats``."""
    return shard_stats(run_units(build, jobs, config, out), config, sources)


def run_units(
    build: Callable[[Job, Path], dict[str, Any]], jobs: Sequence[Job], config: ShardSettings, out: Attempt
) -> list[dict[str, Any]]:
    """Receipts of all units by name: adopted ones as they are, the others built by ``build(job, folder)`` and committed
    one by one. ``folder`` is a local one of the machine that builds; a job itself names no place of output."""
    planned = {job.unit.name for job in jobs}
    finished = {name: receipt for name, receipt in out.units().items() if name in planned}
    waiting = {job.unit.name: job for job in jobs if job.unit.name not in finished}
    out.events.progress(len(finished), len(jobs), "units")
    try:
        for name, receipt in out.build(build, waiting, config.task, at_once=config.workers):
            finished[name] = dict(receipt)
            out.events.progress(len(finished), len(jobs), "units")
    finally:
        close_sandboxes()  # of this process: where the executor is this process they ran here
    return [finished[name] for name in sorted(finished)]


def shard_stats(receipts: Sequence[Mapping[str, Any]], config: ShardSettings, sources: int) -> dict[str, Any]:
    """The stage's statistics. Raises DataError when more than ``config.max_quarantine_share`` of the samples were
    quarantined."""
    counts = merge_counts(receipts)
    check_share(counts, config.max_quarantine_share)
    return {
        "samples": counts["ok"],
        "sources": sources,
        **counts,
        "units": len(receipts),
        "bytes": sum(receipt["bytes"] for receipt in receipts),
        "main_metric": ["samples", counts["ok"]],
    }
