"""A stage is a typed configuration and a plain function; ``@stage`` only says what the workflow must know about it.

    @stage("documents", code_version=1, inputs=("sources",), engines=("pymupdf",), deterministic="bytes")
    def build_document_shards(config: DocumentShards, inputs: Inputs, out: Attempt) -> dict[str, Any]:
        return {"samples": 120, "main_metric": ["regions", 960.0]}

The function stays what it was and can be called directly. Bump ``code_version`` when the same configuration must give
other bytes; that is the only way code enters a key.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pipelines.core import storage
from pipelines.core.errors import ConfigError
from pipelines.core.identity import StageConfig
from pipelines.workflow.artifact import Artifact
from pipelines.workflow.attempt import Attempt

__all__ = ["Artifact", "Attempt", "Inputs", "SourceFile", "StageDef", "load_stage", "stage", "stage_of"]

Stats = dict[str, Any]
Determinism = Literal["bytes", "numbers", "no"]


F = TypeVar("F", bound=Callable[..., Stats])


@dataclass(frozen=True)
class SourceFile:
    """One file of a source folder as the probe saw it: ``uri`` (absolute path or URL), ``name`` relative to the folder,
    bytes, sha256 (empty when the file cannot be read; of a remote object, sha256 over its ETag)."""

    uri: str
    name: str
    size: int
    sha256: str

    @property
    def path(self) -> Path:
        """The file on this machine; one of a remote store is copied down at the first use and kept."""
        return storage.local_file(self.uri)


@dataclass(frozen=True)
class Inputs:
    """The artifacts a step reads, by port, and the listings of its source fields.

    ``inputs["shards"]`` is a tuple in the order of the recipe (empty for an optional input that is not connected);
    ``inputs.one("model")`` is the single artifact of a port. ``inputs.sources["source"]`` are the files the probe
    found under the path in ``config.source``, with ``--limit N`` the first N of each suffix; absent when the field is
    None.
    """

    artifacts: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    sources: Mapping[str, tuple[SourceFile, ...]] = field(default_factory=dict)

    def __getitem__(self, port: str) -> tuple[Artifact, ...]:
        return tuple(self.artifacts.get(port, ()))

    def __contains__(self, port: object) -> bool:
        return bool(self.artifacts.get(port))  # type: ignore[call-overload]

    def __iter__(self) -> Iterator[str]:
        return iter(self.artifacts)

    def one(self, port: str) -> Artifact:
        """The single artifact of ``port``. Raises ConfigError when there are none or several."""
        found = self[port]
        if len(found) != 1:
            raise ConfigError(f"input '{port}' must be one step, it is {len(found)}")
        return found[0]

    def optional(self, port: str) -> Artifact | None:
        return self.one(port) if port in self else None


def _nothing(config: Any, inputs: Inputs, out: Attempt) -> Stats:
    """Stands for the function of a stage until it is attached to one."""
    raise NotImplementedError


@dataclass(frozen=True)
class StageDef:
    """What the workflow knows of a stage, and the decorator (``stage``) that says so of a function. ``config`` is the type
    that the function's first parameter is annotated with: a wrong stage fails at import and not in the middle of a run.

    ``engines`` are installed packages whose versions decide the result; ``tool_digest(config)`` adds digests of files
    they read (an OCR model). ``uses_ray`` False saves connecting to the cluster. ``limit`` False keeps ``--limit``
    out of the key of a stage that does not read ``Attempt.limit``. ``needs`` names the pip extra a missing import
    points to. ``replaces``: source field -> input port that is not read, and so not made, when the field is set.
    """

    name: str
    _: KW_ONLY
    code_version: int
    deterministic: Determinism
    inputs: tuple[str, ...] = ()
    optional_inputs: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    tool_digest: Callable[[Any], Mapping[str, str]] | None = None
    uses_ray: bool = True
    limit: bool = True
    needs: str = ""
    replaces: Mapping[str, str] = field(default_factory=dict)
    function: Callable[..., Stats] = _nothing
    config: type[StageConfig] = StageConfig

    def __post_init__(self) -> None:
        if self.deterministic not in get_args(Determinism):
            told = f"{get_args(Determinism)}, not {self.deterministic!r}"
            raise TypeError(f"{self.name}: deterministic must be one of {told}")

    def __call__(self, function: F) -> F:
        """Attach it to a function. Raises TypeError when the first parameter is not annotated with a StageConfig."""
        function.__stage__ = replace(self, function=function, config=_config_class(function))  # type: ignore[attr-defined]
        return function

    @property
    def dotted(self) -> str:
        """``module:function``, enough to import the stage in another process."""
        return f"{self.function.__module__}:{self.function.__qualname__}"

    @property
    def ports(self) -> tuple[str, ...]:
        return (*self.inputs, *self.optional_inputs)

    @cached_property
    def source_file(self) -> Path:
        """The module that holds the function; its text feeds the advisory DRIFT hash, never the key."""
        return Path(inspect.getsourcefile(inspect.unwrap(self.function)) or self.function.__code__.co_filename)


stage = StageDef


def _config_class(function: Callable[..., Any]) -> type[StageConfig]:
    first = next(iter(inspect.signature(function).parameters.values()))
    annotation = first.annotation
    if isinstance(annotation, str):  # from __future__ import annotations; only this one is resolved
        annotation = eval(annotation, function.__globals__)
    if not (isinstance(annotation, type) and issubclass(annotation, StageConfig)):
        raise TypeError(f"{function.__qualname__}: annotate '{first.name}' with its StageConfig, not {annotation!r}")
    return annotation


def stage_of(function: Callable[..., Any]) -> StageDef:
    """The definition ``@stage`` attached to a function. Raises TypeError for any other function."""
    definition = getattr(function, "__stage__", None)
    if definition is None:
        raise TypeError(f"{getattr(function, '__qualname__', function)} carries no @stage")
    return definition


def load_stage(dotted: str) -> StageDef:
    module, _, name = dotted.partition(":")
    return stage_of(getattr(importlib.import_module(module), name))
