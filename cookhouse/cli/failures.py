"""Every way a command can end badly, as one clear message on stderr and an exit code; tracebacks go to a log."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from pathlib import Path

import click

INTERRUPTED = 130


def guarded(command: click.Command, arguments: list[str]) -> int:
    """Call a command; whatever it raises becomes a message and the exit code of its class."""
    verbose = any(item in ("-v", "--verbose") for item in arguments)
    try:
        result = command.main(args=arguments, prog_name="cookhouse", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        say("stopped")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output is gone (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _explain(error, verbose)


def _explain(error: Exception, verbose: bool) -> int:
    from pipelines.core.errors import CookhouseError
    from pipelines.workflow.files import translate_full_disk

    if isinstance(error, OSError):
        translated = translate_full_disk(error, error.filename or ".")
        error = translated if isinstance(translated, CookhouseError) else error
    if verbose:
        traceback.print_exc()
    if isinstance(error, CookhouseError):
        say(f"error: {error}")
        return error.exit_code
    log = keep_traceback()
    say(
        f"error: {type(error).__name__}: {error}\n  why: this is a bug of cookhouse, not of your input\n  log: {log}\n"
        "  do: please report it with the log; -v prints it here"
    )
    return 1


def keep_traceback() -> Path | str:
    """Write the traceback being handled to ``{root}/logs`` and return the file; root is the last one a command used."""
    from pipelines.core.secrets import redact

    text = redact(traceback.format_exc())
    for root in filter(None, (STATE["root"], Path("artifacts"))):
        with contextlib.suppress(OSError):
            folder = root / "logs"
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
            file.write_text(text, encoding="utf-8")
            return file
    return "(no log could be written; -v prints the traceback)"


STATE: dict[str, Path | None] = {"root": None}
"""The store root of the command that runs, so that a crash can be logged beside its data."""


def say(text: str) -> None:
    """A message for the person, on stderr."""
    click.echo(text, err=True)
