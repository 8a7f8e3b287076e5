"""Hydra's Compose API and override grammar, and nothing else of Hydra: plain YAML in, plain Python out.

Every value keeps its *origin* (``conf/recipe/tiny.yaml:12`` or ``command line``), and Hydra's errors are put into
words a person can act on. No OmegaConf object leaves this file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pipelines.core.canonical import leaves
from pipelines.core.errors import ConfigError, did_you_mean, no_such
from pipelines.core.storage import INSTALLED

PACKAGED = INSTALLED / "conf"
COMMAND_LINE = "command line"
INTERPOLATION = re.compile(r"\$\{([a-z_][\w.]*)\}")


@dataclass(frozen=True)
class Composed:
    """A resolved configuration as plain dicts and lists. ``raw`` is the same before interpolation; ``choices`` are the
    group options it was made from; ``folders`` the search path; relative paths in it are those of ``folder``."""

    values: dict[str, Any]
    raw: dict[str, Any]
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    folders: tuple[Path, ...]
    folder: Path

    def origin(self, path: Sequence[str | int]) -> str:
        """Where the value at a path was written: ``command line`` with the override, ``file:line``, or ''. A value that
        is an interpolation leads to where the variable was written."""
        parts = [str(part) for part in path]
        for text in reversed(self.overrides):
            name = text.lstrip("+~").partition("=")[0].split(".")
            if name == parts[: len(name)]:
                return f"{COMMAND_LINE} ({text})"
        reference = INTERPOLATION.fullmatch(str(lookup(self.raw, parts)))
        if reference and reference[1].split(".") != parts:
            return self.origin(reference[1].split("."))
        return _written_at(parts, self.choices, self.folders)


class _LocalFirst(SearchPathPlugin):
    """Puts ``./conf`` of the working directory before the packaged folder."""

    folder: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.prepend(provider="working directory", path=f"file://{self.folder}")


def search_folders(folder: Path | None = None) -> tuple[Path, ...]:
    """``./conf`` of a folder (default: the working directory) when there is one, then the packaged folder."""
    local = (folder or Path.cwd()) / "conf"
    return (local, PACKAGED) if local.is_dir() and local.resolve() != PACKAGED else (PACKAGED,)


def choices_of(group: str, folders: Sequence[Path]) -> list[str]:
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def file_of(group: str, name: str, folders: Sequence[Path]) -> Path | None:
    return next((file for folder in folders if (file := folder / group / f"{name}.yaml").is_file()), None)


def compose(overrides: Sequence[str], folder: Path | None = None) -> Composed:
    """Compose ``config.yaml`` with the overrides, as if typed in ``folder``. Raises ConfigError for everything that is wrong
    with them."""
    folders = search_folders(folder)
    parsed = _parse(overrides)
    for item in parsed:
        _check_choice(item, folders)
    _LocalFirst.folder = folders[0] if len(folders) > 1 else None
    Plugins.instance().register(_LocalFirst)
    texts = [_additive(item) for item in parsed]
    try:
        config = _by_hydra(texts)
        choices = {str(k): str(v) for k, v in config.hydra.runtime.choices.items() if not str(k).startswith("hydra/")}
        plain = {str(name): config._get_node(name) for name in config if name != "hydra"}
        raw = {name: _plain(node, resolve=False) for name, node in plain.items()}
        values = {name: _plain(node, resolve=True) for name, node in plain.items()}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{mark.name}:{mark.line + 1}" if mark else ""
        raise ConfigError("a YAML file cannot be read", where=where, why=str(error.problem)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise _translate(error, parsed, folders) from error
    return Composed(values, raw, choices, tuple(overrides), folders, folder or Path.cwd())


def _by_hydra(texts: Sequence[str]) -> Any:
    with initialize_config_dir(config_dir=str(PACKAGED), version_base="1.3", job_name="cookhouse"):
        return hydra_compose("config", overrides=list(texts), return_hydra_config=True)


def _plain(node: Any, *, resolve: bool) -> Any:
    if OmegaConf.is_config(node):
        return OmegaConf.to_container(node, resolve=resolve, throw_on_missing=resolve)
    if resolve and node._is_interpolation():
        return node._dereference_node()._value()
    return node._value()


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed = []
    for text in overrides:
        if not text.startswith("~") and "=" not in text:
            why, do = "a trailing argument is name=value", "for example recipe=tiny steps.documents.views_per_page=2"
            raise ConfigError(f"'{text}' is no override", where=COMMAND_LINE, why=why, do=do)
        try:
            (item,) = OverridesParser.create().parse_overrides([text])
        except HydraException as error:
            why, do = str(error).splitlines()[0], "quote values with special characters: 'name=\"a b,c\"'"
            raise ConfigError(f"'{text}' cannot be read", where=COMMAND_LINE, why=why, do=do) from error
        if item.is_sweep_override():
            do = "to try each: cookhouse sweep; for a list write name=[a,b]; for a text with commas quote it"
            why = "one run takes one value"
            raise ConfigError(f"'{text}' gives several values", where=COMMAND_LINE, why=why, do=do)
        parsed.append(item)
    return parsed


def _additive(item: Override) -> str:
    """``steps.documents.dpi=200`` may set a field the recipe does not write down, and ``timeouts.steps.sft.wall_s=60`` a
    limit of one step; the typed configuration behind decides whether the field exists."""
    text, free = str(item.input_line), ("steps.", "timeouts.steps.")
    return f"++{text}" if item.type is OverrideType.CHANGE and item.key_or_group.startswith(free) else text


def _check_choice(item: Override, folders: Sequence[Path]) -> None:
    group = item.key_or_group
    options = choices_of(group, folders)
    value = item.value()
    if (options or group == "recipe") and isinstance(value, str) and value not in options:
        where = f"{COMMAND_LINE} ({item.input_line})"
        raise no_such(f"there is no {group}", value, options, listed="the choices are", where=where)


def _translate(error: Exception, parsed: Sequence[Override], folders: Sequence[Path]) -> ConfigError:
    """Hydra's and OmegaConf's errors in the house's words; the innermost cause says most."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    first = str(error).splitlines()[0]
    groups = [item for item in parsed if choices_of(item.key_or_group, folders)]
    full_key = re.search(r"full_key: (\S+)", str(cause))
    where = full_key[1] if full_key else ""
    if match := re.search(r"Could not (?:override|append|delete)[^']*'([^']+)'", first):
        name, options = match[1], {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
        known = [*_known_names(groups), *sorted(options)]
        text = next((str(item.input_line) for item in parsed if item.key_or_group == name), name)
        near = [item for item in known if item.startswith(f"{name.partition('.')[0]}.") and "steps." not in item]
        do = f"the names are {', '.join(near[:12])}" if near else "see cookhouse config show"
        return no_such("there is no value", name, known, where=f"{COMMAND_LINE} ({text})", do=do)
    if match := re.search(r"[Ii]nterpolation key '([^']+)' not found", str(cause)):
        do = did_you_mean(match[1], _known_names(groups))
        return ConfigError(f"the variable ${{{match[1]}}} does not exist", where=where, do=do)
    if isinstance(cause, MissingMandatoryValue) and full_key:
        chosen = {str(item.key_or_group): str(item.value()) for item in groups}
        written = _written_at(where.split("."), chosen, folders)
        do = f"add {where}=<value>; {written.rpartition(':')[0] or 'its file'} says what it is"
        return ConfigError(f"{where} has no value", where=written, why="it is for you to say (???)", do=do)
    return ConfigError(first, where=where, why=str(cause).splitlines()[0] if cause is not error else "")


def _known_names(groups: Sequence[Override]) -> list[str]:
    """Every dotted name that can be overridden, for suggestions; composing again without the wrong override."""
    try:
        config = _by_hydra([str(item.input_line) for item in groups])
    except (HydraException, OmegaConfBaseException, yaml.YAMLError):
        return []
    raw = {str(name): _plain(config._get_node(name), resolve=False) for name in config if name != "hydra"}
    paths = (list(map(str, path)) for path, _ in leaves(raw))
    return list(dict.fromkeys(".".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1)))


def lookup(value: Any, path: Sequence[str], otherwise: Any = None) -> Any:
    """What lies at a path of dicts and lists, ``otherwise`` where nothing does."""
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return otherwise
    return value


def _written_at(path: Sequence[str], choices: Mapping[str, str], folders: Sequence[Path]) -> str:
    """``file:line`` of the deepest part of a path that one of the composed files writes down, later files first."""
    best: tuple[int, str] = (0, "")
    for group, name in [*choices.items(), ("", "config")]:
        if (file := file_of(group, name, folders)) is None:
            continue
        text = file.read_text(encoding="utf-8")
        package = [] if not group or text.startswith("# @package _global_") else group.split("/")
        if list(path[: len(package)]) != package:
            continue
        depth, line = _locate(yaml.compose(text), path[len(package) :])
        if depth and depth + len(package) > best[0]:
            base = next((base for base in (Path.cwd(), INSTALLED) if file.is_relative_to(base)), None)
            best = (depth + len(package), f"{file.relative_to(base) if base else file}:{line}")
    return best[1]


def _locate(node: Any, path: Sequence[str]) -> tuple[int, int]:
    """(how many parts of the path were found, line of the last of them)."""
    depth, line = 0, 0
    for part in path:
        pairs: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == part]
        elif isinstance(node, yaml.SequenceNode):
            pairs = [(item, item) for index, item in enumerate(node.value) if str(index) == part]
        if not pairs:
            break
        pair = pairs[0]
        depth, line, node = depth + 1, pair[0].start_mark.line + 1, pair[1]
    return depth, line
