"""``cookhouse shards``: check and look at what a data step wrote. Takes the folder of an artifact or a plain folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pipelines.shards.index import ShardFolder

FOLDER = click.argument("folder", type=click.Path(path_type=Path))
FOLDERS = click.argument("folders", type=click.Path(path_type=Path), nargs=-1, required=True)


@click.group()
def shards() -> None:
    """Verify and inspect shards."""


@shards.command()
@FOLDERS
def verify(folders: tuple[Path, ...]) -> None:
    """Prove every shard against its manifest, byte for byte. Exit code 1 if anything is wrong."""
    from pipelines.shards import inspect
    from pipelines.shards.verify import verify as find_problems

    found = 0
    for folder in folders:
        opened = _open(folder)
        problems = find_problems(opened)
        found += len(problems)
        for problem in problems:
            click.echo(str(problem))
        if not problems:
            totals = inspect.stats(opened)
            sizes = f"{totals['shards']} shards, {totals['ok']} samples, {totals['bytes']:,} bytes"
            click.echo(f"{folder}: {sizes}: all as written")
    if found:
        click.echo(f"{found} problems", err=True)
        sys.exit(1)


@shards.command()
@FOLDERS
@click.option("--json", "as_json", is_flag=True, help="One JSON object a folder instead of a table.")
def stats(folders: tuple[Path, ...], as_json: bool) -> None:
    """Totals by status, split, kind and tag, and why rows were left out."""
    from pipelines.shards import inspect

    for folder in folders:
        totals = inspect.stats(_open(folder))
        if as_json:
            click.echo(json.dumps({"folder": str(folder), **totals}, sort_keys=True))
            continue
        click.echo(f"{'folder':12} {folder}")
        for name, value in totals.items():
            if isinstance(value, dict):
                value = ", ".join(f"{key} {count:,}" for key, count in value.items()) or "-"
            else:
                value = f"{value:,}"
            click.echo(f"{name:12} {value}")


@shards.command()
@FOLDER
@click.argument("key", required=False)
@click.option("--status", type=click.Choice(["ok", "filtered", "quarantined"]), help="Only rows of this status.")
@click.option("--limit", default=20, show_default=True, help="Most rows listed.")
@click.option("--extract", type=click.Path(path_type=Path), help="Write the parts of sample KEY into this folder.")
def inspect(folder: Path, key: str | None, status: str | None, limit: int, extract: Path | None) -> None:
    """List rows, or take one sample apart by the start of its KEY."""
    from pipelines.shards import inspect as look

    opened = _open(folder)
    if key is None:
        found = [row for row in look.rows(opened) if status in (None, row.status)]
        for row in found[:limit]:
            why = f"{row.category}: {row.reason}" if row.status != "ok" else " ".join((row.split, *row.tags))
            click.echo(f"{row.status:11} {row.key}  {row.source}#{row.item}  {why}")
        if len(found) > limit:
            click.echo(f"... {len(found) - limit} more (--limit)")
        return
    row = look.find(opened, key)
    click.echo(json.dumps(look.describe(opened, row), indent=1, ensure_ascii=False))
    if extract is not None:
        for path in look.extract(opened, row, extract):
            click.echo(f"wrote {path}")


def _open(folder: Path) -> ShardFolder:
    """The committed artifact in ``folder``, or the folder itself."""
    from pipelines.core.errors import ConfigError
    from pipelines.shards.index import Folder
    from pipelines.workflow.store import read_record

    record = read_record(folder) if folder.is_dir() else None
    if record is not None:
        return record.open(record.step)
    if not (folder / "manifest").is_dir():
        raise ConfigError(
            "no shards here",
            where=str(folder),
            why="there is neither an artifact.json nor a manifest folder",
            do="give the folder of a documents, videos, captions, text or questions artifact",
        )
    return Folder(folder)
