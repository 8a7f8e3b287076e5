"""The commands by name; ``cookhouse`` and ``python -m cookhouse`` start here.

``cookhouse --help`` loads click and nothing else. Options with ``--`` are the command's own; trailing arguments are
Hydra overrides (``recipe=tiny steps.documents.views_per_page=2 source.documents=/data/pdfs``).
"""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Sequence

import click

from cookhouse import __version__

COMMANDS = {
    "plan": ("planning:plan", "Show what would run and why; nothing is started."),
    "run": ("running:run", "Make what is missing; finished steps are reused."),
    "sweep": ("running:sweep", "Run many combinations of values; shared steps are made once."),
    "status": ("inspecting:status", "Show how the steps of a run stand."),
    "logs": ("inspecting:logs", "Print what a step printed."),
    "cancel": ("stopping:cancel", "Stop a run or one of its steps."),
    "resume": ("running:resume", "Go on with the newest or a given run."),
    "retry": ("running:retry", "Make one step of a run again."),
    "gc": ("collecting:gc", "List what nobody needs any more; --yes deletes it."),
    "samples": ("samples:samples", "Look at samples on one HTML page."),
    "shards": ("shards:shards", "Verify, inspect and sample what a data step wrote."),
    "export": ("export:export", "Write a trained model in the layout of the released one."),
    "chat": ("chat:chat", "Ask a model about pictures and videos."),
    "ui": ("services:ui", "Open MLflow on this machine."),
    "up": ("services:up", "Start the local Ray and leave it running."),
    "down": ("services:down", "End the local Ray that up or run started."),
    "doctor": ("doctor:doctor", "Check versions, disk, models and licences."),
    "init": ("starting:init", "Copy a starter recipe into ./conf."),
    "config": ("settings:config", "Show or validate the composed configuration."),
}


class _Lazy(click.Group):
    """Knows the commands by name and imports the file of one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return pkgutil.resolve_name(f"cookhouse.cli.{COMMANDS[name][0]}") if name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from pipelines.core.errors import did_you_mean

            close = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"there is no command '{args[0]}'" + (f"; {close}" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="cookhouse")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """From raw documents and videos to an evaluated multimodal model, step by step.

    \b
    cookhouse plan recipe=tiny
    cookhouse run recipe=tiny
    cookhouse run recipe=tiny source.documents=/data/pdfs --limit 20
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 a step failed, 2 wrong usage or configuration, 3 the plan has
    work (``--detailed-exitcode``), 4 infrastructure, 5 locked by another run, 130 interrupted."""
    from cookhouse.cli.failures import guarded

    given = list(sys.argv[1:] if arguments is None else arguments)
    return guarded(cli, _without_multirun(given))


def _without_multirun(given: list[str]) -> list[str]:
    """``run -m a=1,2`` and ``-m a=1,2``, as users of Hydra type it, are ``sweep a=1,2``."""
    if given[:1] == ["run"] and {"-m", "--multirun"} & set(given):
        given = given[1:]
    elif given[:1] not in (["-m"], ["--multirun"]):
        return given
    return ["sweep", *(word for word in given if word not in ("-m", "--multirun"))]
