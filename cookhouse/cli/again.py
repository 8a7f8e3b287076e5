"""``cookhouse resume | retry``: an earlier command again, without typing it again."""

from __future__ import annotations

import os
import shlex

import click

from cookhouse.cli import options
from cookhouse.cli.failures import say
from cookhouse.cli.inspecting import RUN, newest
from cookhouse.cli.running import carry_out


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
    from pipelines.core.errors import ConfigError
    from pipelines.core.secrets import HIDDEN

    where = tuple(text for text in more if text.startswith("storage"))
    _, _, run = newest(where, run_id)
    given = {text.partition("=")[0] for text in more}
    kept = [text for text in run.data["overrides"] if text.partition("=")[0] not in given]
    hidden = [text for text in kept if HIDDEN in text]
    if hidden:
        raise ConfigError(
            f"run {run.run_id} was given a secret that was not written down",
            where=hidden[0],
            do=f"give {hidden[0].partition('=')[0]}=... again",
        )
    if run.data["cwd"] != os.getcwd():
        raise ConfigError(
            f"run {run.run_id} was started elsewhere",
            where=run.data["cwd"],
            why="relative paths and ./conf are taken from the working directory",
            do=f"cd {shlex.quote(run.data['cwd'])}",
        )
    typed = [*kept, *more]
    selected = run.data["selection"] if not targets else {"only": (), "start": (), "until": ()}
    chosen = options.Chosen.of(run.data["limit"], **selected)
    say(shlex.join(["cookhouse", "run", *targets, *typed, *chosen.again()]))
    return carry_out(typed, targets, chosen, manner)
