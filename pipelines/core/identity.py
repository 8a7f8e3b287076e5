"""Every field of a stage's configuration says whether it decides the result.

``Identity[T]`` enters the key; ``Runtime[T]`` (workers, paths, retries, devices) never does; ``Source[T]`` is a path or
glob outside the store whose *listing digest* enters instead of the text. A field with none of the three is an error
when the class is defined, so nobody can forget.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipelines.core.cpus import FOLLOWS, Room
from pipelines.core.errors import ConfigError
from pipelines.core.executor import ONE_CPU, Demand, Resources
from pipelines.core.storage import INSTALLED, sha256_of

T = TypeVar("T")


class Marker(StrEnum):
    """What a field is to the key."""

    IDENTITY = "identity"
    RUNTIME = "runtime"
    SOURCE = "source"


Identity = Annotated[T, Marker.IDENTITY]
Runtime = Annotated[T, Marker.RUNTIME]
Source = Annotated[T, Marker.SOURCE]

LocalPath = Annotated[str, AfterValidator(lambda value: os.path.abspath(os.path.expanduser(value)))]
"""A path of the machine that plans, absolute from then on."""


class Record(BaseModel):
    """A frozen typed record of configuration: unknown keys are errors, sequences are tuples."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=True, protected_namespaces=())


def field_kind(cls: type[BaseModel], name: str) -> Marker | None:
    """None for an unmarked field."""
    return next((item for item in cls.model_fields[name].metadata if isinstance(item, Marker)), None)


class StageConfig(Record):
    """Base of every stage's configuration. Nested records may carry markers of their own; unmarked fields of a nested
    plain ``Record`` follow the field that holds them."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name in cls.model_fields:
            if field_kind(cls, name) is None:
                raise TypeError(f"{cls.__name__}.{name}: mark the field Identity[...], Runtime[...] or Source[...]")

    def misfits(self, inputs: Mapping[str, tuple[str, ...]]) -> Iterable[Misfit]:
        """What of this configuration contradicts the step's inputs (port -> step names); asked before anything runs."""
        return ()

    def sized(self, room: Room) -> Self:
        """This configuration with the numbers that follow the cluster filled in. Only ``Runtime`` fields: the key stays what
        it was."""
        return self

    def demand(self) -> Demand:
        """What the step keeps busy, of a ``sized`` configuration: a run starts steps side by side as far as the cluster
        goes. By default one process."""
        return Demand(ONE_CPU, ONE_CPU)

    def asks(self) -> str:
        """What it does with that, for ``plan``."""
        return "one process"


class TaskConfig(StageConfig):
    """Of a step whose work is tasks: so many ``workers`` at once (0: as many as the cluster holds), each of which reserves
    its CPUs, GPUs (fractions share one) and bytes of memory."""

    workers: Runtime[int] = Field(FOLLOWS, ge=0)
    worker_cpus: Runtime[float] = Field(1.0, ge=0)
    worker_gpus: Runtime[float] = Field(0.0, ge=0)
    worker_memory: Runtime[int] = Field(0, ge=0)

    @property
    def task(self) -> Resources:
        return Resources(self.worker_cpus, self.worker_gpus, self.worker_memory)

    def sized(self, room: Room) -> Self:
        return self.model_copy(update={"workers": self.workers or room.whole.holds(self.task)})

    def demand(self) -> Demand:
        return Demand(self.task.times(self.workers), self.task)

    def asks(self) -> str:
        return f"workers {self.workers}"


class Misfit(NamedTuple):
    """``path`` leads to the value inside the configuration, ``what`` is wrong with it, ``do`` is the way out."""

    path: tuple[str | int, ...]
    what: str
    do: str


class ExternalFile(Record):
    """A file made elsewhere: its sha256 is its identity, the path only says where this machine keeps it."""

    path: Runtime[str]
    sha256: Identity[str]

    def locate(
        self, hash_of: Callable[[Path], str] = sha256_of, where: str = "", folder: str | os.PathLike[str] = ""
    ) -> Path:
        """The file's absolute path: as given (in ``folder``), else relative to where the packages are installed (files
        that ship with them). Raises ConfigError, which says ``where`` the path was written, when the file is missing or
        holds other bytes than ``sha256`` says."""
        candidates = [Path(os.path.abspath(os.path.join(folder, os.path.expanduser(self.path)))), INSTALLED / self.path]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            why = "looked at " + " and ".join(str(path) for path in dict.fromkeys(candidates))
            do = "fetch the file or correct its path"
            raise ConfigError(f"the file '{self.path}' does not exist", where=where, why=why, do=do)
        if (actual := hash_of(found)) != self.sha256:
            why = f"its sha256 is {actual[:12]}..., the recipe expects {self.sha256[:12]}..."
            do = "restore the file, or write its new sha256 into the recipe (the key changes with it)"
            raise ConfigError(f"'{self.path}' is not the file the recipe names", where=where, why=why, do=do)
        return found


def identity_of(config: BaseModel) -> dict[str, Any]:
    """The part of a configuration that enters the key: runtime and source fields left out, at every depth."""
    return {
        name: _identity_value(getattr(config, name))
        for name in type(config).model_fields
        if field_kind(type(config), name) not in (Marker.RUNTIME, Marker.SOURCE)
    }


def _identity_value(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return identity_of(value)
    if isinstance(value, tuple | list):
        return [_identity_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _identity_value(item) for key, item in value.items()}
    return value


def sources_of(config: BaseModel) -> dict[str, str]:
    return {
        name: value
        for name in type(config).model_fields
        if field_kind(type(config), name) == "source" and (value := getattr(config, name)) is not None
    }
