"""``cookhouse gc``: what takes space and is needed by nobody; deleted only when asked."""

from __future__ import annotations

import json
import re

import click

from cookhouse.cli import options
from cookhouse.cli.words import size
from pipelines.core.errors import ConfigError
from pipelines.core.storage import Remote
from pipelines.workflow.collect import find_waste
from pipelines.workflow.dispose import dispose, holdings
from pipelines.workflow.runs import keys_of_runs

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def age(_: click.Context, __: click.Parameter, value: str) -> float:
    """``7d``, ``12h``, ``30m``, ``0s`` as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value)
    if match is None:
        raise click.BadParameter(f"'{value}' is no age; write 7d, 12h, 30m or 0s")
    return float(match[1]) * UNITS[match[2]]


@click.command()
@options.overrides
@click.option("--dry-run", is_flag=True, help="Only list; this is also what happens without --yes.")
@click.option("-y", "--yes", is_flag=True, help="Delete what is listed.")
@click.option(
    "--keep-runs", default=20, show_default=True, metavar="N", help="Keep what the newest N runs or sweeps used."
)
@click.option(
    "--older-than", callback=age, default="7d", show_default=True, help="Spare unfinished attempts younger than this."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.verbose
def gc(overrides: tuple[str, ...], dry_run: bool, yes: bool, keep_runs: int, older_than: float, as_json: bool) -> None:
    """List failed attempts, old generations and keys no recent run needs; with --yes delete them.

    Never goes: what a remaining result was made from, a path its manifest names, what is being made. With
    a recipe its present plan is kept too. Of a remote root only results that runs of this machine named can go.
    """
    if dry_run and yes:
        raise ConfigError("--dry-run and --yes contradict each other", do="leave one of them out")
    project, store = options.opened(overrides)
    roots = keys_of_runs(store.home, keep_runs) | {item.key for item in project.keyed(store)}
    held = holdings(store)
    if isinstance(store.root, Remote):  # the runs of other machines are recorded there: what they need is not known
        roots |= {item.key for item in held} - keys_of_runs(store.home, None)
    rows, amount = [], 0
    for item in find_waste(held, roots, older_than_s=older_than):
        gone = yes and dispose(store, item)
        about = {"kind": item.kind, "name": item.name, "folder": str(item.holding.folder), "bytes": item.bytes}
        amount += item.bytes
        rows.append({**about, "why": item.why, "deleted": gone})
        if not as_json:
            state = "deleted" if gone else "in use" if yes else "waste"
            click.echo(f"{state:<8}{item.kind:<11}{size(item.bytes):>8}  {item.holding.folder.parent.name}/{item.name}")
            click.echo(f"{'':29}{item.why}")
    if as_json:
        click.echo(json.dumps({"root": str(store.root), "waste": rows}))
        return
    listed = f"{size(amount)} in {len(rows)} places of {store.root}; nothing was deleted, --yes does"
    done = f"{size(amount)} freed in {store.root}" if yes else listed
    click.echo(done if rows else f"nothing to delete in {store.root}")
