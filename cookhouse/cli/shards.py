"""``cookhouse shards``: check and look at what a data step wrote. Takes the folder of an artifact or a plain folder."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from pipelines.core.errors import ConfigError
from pipelines.core.storage import place
from pipelines.shards import inspect as look
from pipelines.shards.index import Folder, ShardFolder, ShardIndex
from pipelines.shards.read import read_json
from pipelines.shards.verify import verify as find_problems
from pipelines.workflow.store import read_record

FOLDER = click.argument("folder")
FOLDERS = click.argument("folders", nargs=-1, required=True)


@click.group()
def shards() -> None:
    """Verify, inspect and sample shards."""


@shards.command()
@FOLDERS
def verify(folders: tuple[str, ...]) -> None:
    """Prove every shard against its manifest, byte for byte. Exit code 1 if anything is wrong."""
    found = 0
    for folder in folders:
        opened = _open(folder)
        problems = find_problems(opened)
        found += len(problems)
        for problem in problems:
            click.echo(str(problem))
        if not problems:
            totals = look.stats(opened)
            sizes = f"{totals['shards']} shards, {totals['ok']} samples, {totals['bytes']:,} bytes"
            click.echo(f"{folder}: {sizes}: all as written")
    if found:
        click.echo(f"{found} problems", err=True)
        sys.exit(1)


@shards.command()
@FOLDERS
@click.option("--json", "as_json", is_flag=True, help="One JSON object a folder instead of a table.")
def stats(folders: tuple[str, ...], as_json: bool) -> None:
    """Totals by status, split, kind and tag, and why rows were left out."""
    for folder in folders:
        totals = look.stats(_open(folder))
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
@click.option(
    "--status", type=click.Choice(["ok", "filtered", "quarantined"]), multiple=True, help="Only rows of these statuses."
)
@click.option("--limit", default=20, show_default=True, help="Most rows listed.")
@click.option("--extract", type=click.Path(path_type=Path), help="Write the parts of sample KEY into this folder.")
def inspect(folder: str, key: str | None, status: tuple[str, ...], limit: int, extract: Path | None) -> None:
    """List rows, or take one sample apart by the start of its KEY."""
    opened = _open(folder)
    if key is None:
        found = [row for row in look.rows(opened) if not status or row.status in status]
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


@shards.command("ls")
@FOLDERS
def list_shards(folders: tuple[str, ...]) -> None:
    """List shards with their samples by split, bytes and sha256."""
    for folder in folders:
        for shard in look.shards(_open(folder)):
            splits = " ".join(f"{split} {count}" for split, count in shard.splits.items())
            click.echo(f"{shard.name:36} {shard.size:>14,} bytes  {shard.sha256[:12]:12}  {splits}")


@shards.command()
@FOLDERS
@click.option("-n", "count", default=10, show_default=True, help="How many samples.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same samples.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Only this split.")
@click.option("--tag", help="Only samples with this tag.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a sample: its row and its text.")
def sample(folders: tuple[str, ...], count: int, seed: int, split: str | None, tag: str | None, as_json: bool) -> None:
    """Show samples drawn by a seed, from all FOLDERS together."""
    refs = ShardIndex.from_artifacts(map(_open, folders)).select(split=split, tag=tag, unlabelled=True)
    for ref in look.draw(refs, count, seed):
        text = str(read_json(ref)["messages"][-1]["content"])
        if as_json:
            click.echo(json.dumps({**asdict(ref), "text": text}, ensure_ascii=False))
            continue
        size = f"{ref.views} x {ref.width}x{ref.height}" if ref.views else f"{ref.text_bytes} bytes"
        line = " ".join(text.split())
        click.echo(f"{ref.key}  {ref.kind:8} {ref.split:5} {size:16} {line[:60]}{'...' if len(line) > 60 else ''}")
    click.echo(f"{min(count, len(refs))} of {len(refs):,} samples (seed {seed})", err=True)


def _open(text: str) -> ShardFolder:
    """The committed artifact in a folder, or the folder itself; ``s3://...`` is read where it lies."""
    folder = place(text)
    record = read_record(folder)
    if record is not None:
        return record.open(record.step)
    plain = Folder(folder, (folder.absolute() if isinstance(folder, Path) else folder).name)
    if not any(name.startswith("manifest/") for name in plain.names):
        raise ConfigError(
            "no shards here",
            where=text,
            why="there is neither an artifact.json nor a manifest folder",
            do="give the folder of a documents, videos, captions, text or questions artifact",
        )
    return plain
