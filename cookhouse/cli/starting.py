"""``cookhouse init``: a recipe of one's own to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from cookhouse.cli import options
from cookhouse.cli.closing import print_next
from pipelines.core.errors import ConfigError, no_such
from pipelines.workflow.compose import choices_of, search_folders
from pipelines.workflow.recipe import STEP_NAME


@click.command()
@click.argument("name", default="mine")
@click.option("--from", "model", default="data", show_default=True, metavar="RECIPE", help="The recipe to copy.")
@options.verbose
def init(name: str, model: str) -> None:
    """Copy a starter recipe to ./conf/recipe/NAME.yaml, which then is searched before the packaged ones."""
    folders = search_folders()
    known = choices_of("recipe", folders)
    if model not in known:
        raise no_such("there is no recipe", model, known, where="--from")
    if not STEP_NAME.fullmatch(name):
        raise ConfigError(f"'{name}' is no name for a recipe", why="use a-z, 0-9 and _, beginning with a letter")
    source = next(file for folder in folders if (file := folder / "recipe" / f"{model}.yaml").is_file())
    target = Path("conf") / "recipe" / f"{name}.yaml"
    text = source.read_text(encoding="utf-8").replace(f"recipe={model}", f"recipe={name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as copy:
            copy.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{target} exists", do=f"choose another name: cookhouse init {shlex.quote(name)}2, or edit it"
        ) from None
    click.echo(f"wrote {target}, a copy of {source}")
    print_next(
        [
            (["config", "show", f"recipe={name}"], "every value and where it was written"),
            (["plan", f"recipe={name}"], "what it would make"),
            (["run", f"recipe={name}", "--limit", "20"], "a first try on 20 inputs"),
        ]
    )
