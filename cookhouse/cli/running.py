"""``cookhouse run | sweep | resume | retry``: what is asked for, as one session."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cookhouse.cli import options
from cookhouse.cli.failures import say
from cookhouse.cli.inspecting import RUN, known_steps, newest
from cookhouse.session import Asked, carry_out
from pipelines.core.errors import ConfigError
from pipelines.core.secrets import HIDDEN, redact
from pipelines.workflow.files import create_json, read_json
from pipelines.workflow.plan import Selection
from pipelines.workflow.sweep import combine, sweep_id, varied


@click.command()
@options.words
@options.selection
@options.manner
def run(words: tuple[str, ...], chosen: Selection, manner: options.Manner) -> int:
    """Make what is missing; finished steps are reused.

    STEPs are the targets: those and what they need (as --until). Ctrl-C stops cleanly, a second one at once. Run the
    same command again to go on from what was committed.
    """
    targets, overrides = options.targets_and_overrides(words)
    return carry_out(Asked([overrides], replace(chosen, until=(*chosen.until, *targets))), manner)


@click.command()
@options.overrides
@click.option("--each", multiple=True, metavar='"A=1 B=2"', help="One combination; give it several times for a list.")
@click.option("--file", type=click.Path(path_type=Path), metavar="FILE", help="Combinations from a file, one a line.")
@click.option("--resume", "known", metavar="ID", help="Go on with a sweep by its id.")
@click.option("--dry-run", is_flag=True, help="Only show the plan of the union.")
@options.selection
@options.manner
def sweep(
    overrides: tuple[str, ...],
    each: tuple[str, ...],
    file: Path | None,
    known: str | None,
    dry_run: bool,
    chosen: Selection,
    manner: options.Manner,
) -> int:
    """Run every combination of values: steps.sft.seed=1,2,3 steps.sft.lr=1e-3,1e-4 make six.

    The grammar is Hydra's (a,b  range(1,4)  choice(a,b)). Shared steps are made once; a failed combination does not stop
    the others; the same command again goes on with what is missing.
    """
    asked = _combined(overrides, each, file, chosen) if known is None else _known(known, overrides)
    return carry_out(asked, replace(manner, keep_going=True), dry_run=dry_run)


def _combined(overrides: tuple[str, ...], each: tuple[str, ...], file: Path | None, chosen: Selection) -> Asked:
    """The combinations, expanded and written down under an id."""
    found, names = combine(overrides, each, file)
    if len(found) < 2:
        raise ConfigError(
            "there is one combination only", do="give several values: steps.<name>.<field>=1,2 (or use cookhouse run)"
        )
    project, store = options.opened(found[0], recipe=True)
    kept = {"limit": chosen.limit, "selection": chosen.kept}
    shown = [[redact(text) for text in item] for item in found]
    name = sweep_id(project.recipe, shown, kept)
    about = {"sweep": name, "created": round(time.time(), 3), "cwd": str(Path.cwd())}
    if not create_json(_manifest(store.home, name), {**about, "combinations": shown, "varied": names, **kept}):
        say(f"sweep {name} is known: what it made is reused")
    return Asked(found, chosen, name, names)


def _manifest(home: Path, name: str) -> Path:
    """What a sweep set out to do; how it stands is derived from the store, as for a run."""
    return home / "sweeps" / f"{name}.json"


def _known(name: str, overrides: tuple[str, ...]) -> Asked:
    """The combinations as an earlier command wrote them down."""
    home = options.opened(overrides, recipe=False)[1].home
    manifest = read_json(_manifest(home, name))
    if manifest is None:
        raise ConfigError(f"there is no sweep '{name}'", where=str(home / "sweeps"), do="leave out --resume")
    more, folder = _from_here(overrides), Path(manifest.get("cwd") or Path.cwd())
    rows = [(*item, *more) for item in manifest["combinations"]]
    return Asked(rows, _kept(manifest), name, varied(rows), folder)


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.argument("overrides", nargs=-1)
@options.manner
def resume(run_id: str | None, overrides: tuple[str, ...], manner: options.Manner) -> int:
    """Go on with a run (default: the newest): its overrides and limit again, further OVERRIDES after them."""
    if run_id is not None and "=" in run_id:
        overrides, run_id = (run_id, *overrides), None
    return _again(run_id, overrides, (), manner)


@click.command()
@click.argument("step")
@options.overrides
@RUN
@options.manner
def retry(step: str, overrides: tuple[str, ...], run_id: str | None, manner: options.Manner) -> int:
    """Make one STEP of a run again after it failed, with what it needs; finished units are kept."""
    return _again(run_id, overrides, (step,), manner)


def _again(run_id: str | None, more: tuple[str, ...], targets: tuple[str, ...], manner: options.Manner) -> int:
    _, store, run = newest(tuple(text for text in more if text.startswith("storage")), run_id)
    known_steps(run, targets)
    folder = Path(run.data["cwd"])
    given = {text.partition("=")[0] for text in more}
    kept = [text for text in run.data["overrides"] if text.partition("=")[0] not in given]
    hidden = [text for text in kept if HIDDEN in text]
    if hidden:
        raise ConfigError(
            f"run {run.run_id} was given a secret that was not written down",
            where=hidden[0],
            do=f"give {hidden[0].partition('=')[0]}=... again",
        )
    if run.data.get("conf") and not (folder / "conf").is_dir():
        raise ConfigError(
            f"run {run.run_id} was composed from a folder that is not here",
            where=str(folder / "conf"),
            do="bring it back, or give the whole command where your conf/ lies now: "
            + shlex.join(["cookhouse", "run", *kept]),
        )
    typed = (*kept, *_from_here(more))
    if folder != Path.cwd():
        typed = (*(text for text in typed if not text.startswith("storage.root=")), f"storage.root={store.root}")
    chosen = replace(_kept(run.data), only=(), start=(), until=targets) if targets else _kept(run.data)
    say(shlex.join(["cookhouse", "run", *chosen.typed(typed)]))
    return carry_out(Asked([typed], chosen, folder=folder), manner)


def _kept(data: Mapping[str, Any]) -> Selection:
    """The selection of a run record or a sweep's manifest."""
    only, start, until = (tuple(data["selection"][name]) for name in ("only", "start", "until"))
    return Selection(data["limit"], only, start, until)


def _from_here(overrides: Sequence[str]) -> tuple[str, ...]:
    """Overrides that may be read in another folder: a value that leads to something from here is made absolute."""
    split = [text.partition("=") for text in overrides]
    return tuple(
        f"{name}={os.path.abspath(value)}" if "/" in value and os.path.exists(value) else f"{name}{sign}{value}"
        for name, sign, value in split
    )
