"""``cookhouse export``: a trained model as the released repository lays it out."""

from __future__ import annotations

from pathlib import Path

import click

from cookhouse.cli import options
from cookhouse.model_folder import find_model


@click.command()
@click.argument("model", metavar="DIR|STEP")
@click.argument("target", type=click.Path(path_type=Path), metavar="TARGET")
@options.overrides
@click.option(
    "--dtype", type=click.Choice(["bfloat16", "float16", "float32"]), default="bfloat16", show_default=True,
    help="Numbers of the weights.",
)  # fmt: skip
@click.option("--check", type=click.Path(path_type=Path, dir_okay=False), metavar="INDEX",
              help="Compare names with a released model.safetensors.index.json.")  # fmt: skip
@options.verbose
def export(model: str, target: Path, overrides: tuple[str, ...], dtype: str, check: Path | None) -> int:
    """Write DIR (a folder with config.json, or an artifact) or what STEP of the newest run made to the folder TARGET.

    The folder is read back and every name, shape and size is checked before the command says it is done.
    """
    import torch

    from model.export import export_model, problems

    source = find_model(model, overrides)
    files = export_model(source, target, getattr(torch, dtype))
    wrong = problems(target, check)
    for problem in wrong[:20]:
        click.echo(problem, err=True)
    if wrong:
        click.echo(f"{len(wrong)} problems in {target}", err=True)
        return 1
    for file in files:
        click.echo(f"{file.stat().st_size:>14,}  {file.name}")
    compared = " and the released names" if check else ""
    click.echo(f"{target}: read back, names and shapes are those of config.json{compared}")
    return 0
