"""``cookhouse config``: the composed configuration, with the place each value was written."""

from __future__ import annotations

import json
from typing import Any

import click

from cookhouse.cli import options


@click.group()
def config() -> None:
    """Show or validate the composed configuration."""


@config.command()
@options.overrides
@click.option("--json", "as_json", is_flag=True, help="Print the values as JSON, without their places.")
@options.verbose
def show(overrides: tuple[str, ...], as_json: bool) -> None:
    """Print every value and where it was written. Fields at their defaults are shown too."""
    from cookhouse.project import load_project

    project = load_project(overrides, recipe=any(text.startswith("recipe=") for text in overrides))
    values = {name: value for name, value in project.composed.values.items() if name != "steps"}
    values["steps"] = {
        step.name: {
            "stage": step.definition.name,
            "inputs": {port: list(names) for port, names in step.inputs.items()},
            **step.config.model_dump(mode="json"),
        }
        for step in project.steps
    }
    if as_json:
        click.echo(json.dumps(values, ensure_ascii=False))
        return
    for path, value in _leaves(values, ()):
        place = project.composed.origin(path)
        written = place if place and _is_written(project.composed.raw, path) else "default"
        click.echo(f"{'.'.join(path)} = {json.dumps(value, ensure_ascii=False)}  # {written}")


@config.command()
@options.overrides
@options.verbose
def validate(overrides: tuple[str, ...]) -> None:
    """Check every stage of a recipe, or of all recipes when none is given. Sources are not looked at."""
    from cookhouse.project import load_project
    from pipelines.workflow.compose import choices_of, search_folders

    given = [text for text in overrides if text.startswith("recipe=")]
    rest = [text for text in overrides if text not in given]
    for recipe in given or [f"recipe={name}" for name in choices_of("recipe", search_folders())]:
        project = load_project([recipe, *rest])
        click.echo(f"{recipe}: {len(project.steps)} steps are right")


def _leaves(value: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        return [leaf for name, item in value.items() for leaf in _leaves(item, (*path, str(name)))]
    return [(path, value)]


def _is_written(raw: Any, path: tuple[str, ...]) -> bool:
    """Whether a file or an override says this very value; an interpolation above it counts."""
    for part in path:
        if isinstance(raw, str) and raw.startswith("${"):
            return True
        if not isinstance(raw, dict) or part not in raw:
            return False
        raw = raw[part]
    return True
