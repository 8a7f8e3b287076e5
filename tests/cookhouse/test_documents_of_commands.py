"""docs/commands.md and README name options that exist, and every command is in docs/commands.md."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from cookhouse.cli.main import COMMANDS, cli

REPO = Path(__file__).resolve().parents[2]
LINE = re.compile(r"^(?:\.venv/bin/)?cookhouse ([a-z]+)((?: [^#\n]*)?)", re.MULTILINE)


def options_of(name: str) -> set[str]:
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    found = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    return {text for item in found for param in item.params for text in (*param.opts, *param.secondary_opts)}


@pytest.mark.parametrize("page", ["README.md", "docs/commands.md"])
def test_options_that_are_named_exist(page: str) -> None:
    lines = LINE.findall((REPO / page).read_text(encoding="utf-8"))
    assert lines
    for name, rest in lines:
        named = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", re.sub(r'"[^"]*"', "", rest.partition("   ")[0])))
        assert named <= options_of(name), f"{page}: cookhouse {name} {rest}"


def test_every_command_is_explained() -> None:
    text = (REPO / "docs" / "commands.md").read_text(encoding="utf-8")
    missing = [name for name in COMMANDS if f"cookhouse {name}" not in text and f"`{name}`" not in text]
    assert missing == []
