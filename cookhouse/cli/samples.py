"""``cookhouse samples``: look at what a data step made."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from cookhouse.cli import options
from cookhouse.model_folder import newest_result
from cookhouse.stages import STAGES
from pipelines.core.errors import DataError
from pipelines.core.sandbox import close_sandboxes
from pipelines.core.storage import place
from pipelines.workflow.store import Record, Store, read_record


@click.group()
def samples() -> None:
    """Look at samples."""


@samples.command()
@click.argument("step")
@options.overrides
@click.option("-n", "--count", default=24, show_default=True, help="Samples shown.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="The page; default STEP-preview.html.")
@click.option(
    "--tag", "tags", multiple=True, help="Only samples of this family, route or split (card, scan, test ...)."
)
@click.option("--seed", default=0, show_default=True, help="Another seed, other samples.")
@options.verbose
def preview(
    step: str, overrides: tuple[str, ...], count: int, out: Path | None, tags: tuple[str, ...], seed: int
) -> None:
    """Write one HTML page with some samples of STEP (a step's name, or the folder of an artifact)."""
    from cookhouse.pages.samples import render
    from cookhouse.preview.cards import make_card
    from cookhouse.preview.pick import SourcePages, pick

    _, store = options.opened(overrides, recipe=False)
    record = read_record(place(step)) or newest_result(store, step)
    pages = SourcePages(str(record.document["config"].get("engine", "pymupdf")), _places(store, record))
    try:
        picked = pick(record.open(record.step), count, seed, tags, pages)
        if not picked.samples:
            raise DataError(
                f"step '{record.step}' has no written sample{' tagged ' + ' and '.join(tags) if tags else ''}",
                where=str(record.folder),
                do="cookhouse shards stats says what it holds",
            )
        cards = [make_card(sampled) for sampled in picked.samples]
    finally:
        close_sandboxes()
    counts = ", ".join(f"{number:,} {status}" for status, number in sorted(picked.counts.items()))
    about = (f"{len(cards)} of {picked.counts['ok']:,} samples", counts, f"key {record.key[:12]}", f"seed {seed}")
    path = out or Path(f"{record.step}-preview.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(f"Samples of {record.step}", about, cards, picked.left_out), encoding="utf-8")
    click.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB, {len(cards)} samples); open it in a browser:")
    click.echo(f"  xdg-open {shlex.quote(str(path))}")


def _places(store: Store, record: Record) -> Callable[[str], Path | None]:
    """Where a source file lies: where the step found it, or in an artifact the step was made from."""

    def place(name: str) -> Path | None:
        if told and (Path(told) / name).is_file():
            return Path(told) / name
        for artifact in inputs:
            with suppress(DataError):
                return artifact.path(name)
        return None

    told = record.data["config"].get("source")
    keys = {key for items in record.document["inputs"].values() for _, key in items}
    found = [store.find(stage, key) for key in keys for stage in STAGES]
    inputs = [record.open(record.step) for record in found if record is not None]
    return place
