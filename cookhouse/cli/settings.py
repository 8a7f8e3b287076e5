"""``cookhouse config``: the composed configuration, with the place each value was written, and what could be written."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import click

from cookhouse.cli import options
from cookhouse.project import Project, load_project
from cookhouse.stages import STAGES
from pipelines.core.canonical import dotted
from pipelines.core.errors import ConfigError, no_such
from pipelines.core.identity import field_kind
from pipelines.core.secrets import redact
from pipelines.workflow.compose import choices_of, compose, file_of, lookup, search_folders
from pipelines.workflow.stage import load_stage

ABSENT = object()


@click.group()
def config() -> None:
    """Show, validate and compare configurations."""


@config.command()
@options.overrides
@click.option("--json", "as_json", is_flag=True, help="Print the values as JSON, without their places.")
@options.verbose
def show(overrides: tuple[str, ...], as_json: bool) -> None:
    """Print every value and where it was written. Fields at their defaults are shown too."""
    project, _ = options.opened(overrides)
    if as_json:
        click.echo(redact(json.dumps(values_of(project), ensure_ascii=False)))
        return
    for name, value in dotted(values_of(project)).items():
        click.echo(redact(f"{name} = {json.dumps(value, ensure_ascii=False)}  # {place_of(project, name)}"))


@config.command()
@options.overrides
@options.verbose
def validate(overrides: tuple[str, ...]) -> int:
    """Check every stage of a recipe, or of all recipes when none is given. Sources are not looked at."""
    given = [text for text in overrides if text.startswith("recipe=")]
    rest = [text for text in overrides if text not in given]
    wrong = 0
    for recipe in given or [f"recipe={name}" for name in choices_of("recipe", search_folders())]:
        try:
            project = load_project([recipe, *rest])
        except ConfigError as error:
            wrong += 1
            click.echo(f"{recipe}: {error}", err=True)
        else:
            click.echo(f"{recipe}: {len(project.steps)} steps are right")
    return 2 if wrong else 0


@config.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON.")
@options.verbose
def diff(before: str, after: str, as_json: bool) -> None:
    """What differs between two configurations, each given as one quoted list of overrides.

    cookhouse config diff "recipe=tiny" "recipe=tiny steps.sft.seed=2"
    """
    (old, _), (new, _) = options.opened(shlex.split(before)), options.opened(shlex.split(after))
    was, now = dotted(values_of(old)), dotted(values_of(new))
    rows = [name for name in {**was, **now} if was.get(name, ABSENT) != now.get(name, ABSENT)]
    if as_json:
        click.echo(json.dumps([{"path": name, "a": was.get(name), "b": now.get(name)} for name in rows]))
        return
    for name in rows:
        places = " | ".join(dict.fromkeys(place_of(side, name) for side in (old, new)))
        click.echo(f"{name}  {_shown(was.get(name))} -> {_shown(now.get(name))}  # {places}")
    if not rows:
        click.echo("no difference")


@config.command()
@click.argument("stages", nargs=-1, metavar="[STAGE]...")
@options.verbose
def schema(stages: tuple[str, ...]) -> None:
    """Print the JSON Schema of stages (default: all). ``x-cookhouse`` says what a field is to the key: identity, runtime
    or source."""
    found = {}
    for name in stages or STAGES:
        if name not in STAGES:
            raise no_such("there is no stage", name, STAGES, listed="the stages are")
        definition = load_stage(STAGES[name])
        made = definition.config.model_json_schema()
        for field, about in made.get("properties", {}).items():
            about["x-cookhouse"] = field_kind(definition.config, field)
        found[name] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
    click.echo(json.dumps(found[stages[0]] if len(stages) == 1 else found, indent=1, ensure_ascii=False))


@config.command()
@options.verbose
def groups() -> None:
    """List the groups of ``conf/`` and their choices: the names to the right of ``recipe=``, ``cluster=``, ``model=`` ..."""
    folders = search_folders()
    chosen = compose([]).choices
    rows = []
    for group in sorted({path.name for folder in folders for path in folder.iterdir() if path.is_dir()}):
        for name in choices_of(group, folders):
            if (file := file_of(group, name, folders)) is not None:
                rows.append((f"{group}={name}", "*" if chosen.get(group) == name else " ", _about(file.read_text())))
    width = max((len(text) for text, _, _ in rows), default=0)
    for text, mark, about in rows:
        click.echo(f"{mark} {text:<{width}}  {about}".rstrip())
    click.echo("\n* is taken when nothing else is said")


def values_of(project: Project) -> dict[str, Any]:
    """Everything that was composed; steps with all their fields, as their stages understand them."""
    values = {name: value for name, value in project.composed.values.items() if name != "steps"}
    values["steps"] = {
        step.name: {
            "stage": step.definition.name,
            "inputs": {port: list(names) for port, names in step.inputs.items()},
            **step.config.model_dump(mode="json"),
        }
        for step in project.steps
    }
    return values


def place_of(project: Project, name: str) -> str:
    """``conf/recipe/tiny.yaml:12``, ``command line (...)`` or ``default``."""
    raw, path = project.composed.raw, name.split(".")
    above = (lookup(raw, path[:depth]) for depth in range(len(path)))
    written = any(str(value).startswith("${") for value in above) or lookup(raw, path, ABSENT) is not ABSENT
    return project.composed.origin(path) or "default" if written else "default"


def _shown(value: Any) -> str:
    return "(none)" if value is None else json.dumps(value, ensure_ascii=False)


def _about(text: str) -> str:
    """The first sentence of the comment a file of ``conf/`` begins with."""
    words: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        words += [] if line.startswith("# @package") else line.lstrip("#").split()
    sentence = re.split(r"[.:;](?:\s|$)", " ".join(words))[0]
    return sentence if len(sentence) <= 90 else sentence[:87] + "..."
