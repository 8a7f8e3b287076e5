"""From what a person typed to typed values: the one place where composed YAML becomes settings and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from cookhouse.stages import STAGES
from pipelines.core.cpus import Room, given_cpus, given_gpus, given_memory
from pipelines.core.errors import ConfigError, no_such
from pipelines.core.identity import Record
from pipelines.core.secrets import leaks
from pipelines.workflow.compose import COMMAND_LINE, INTERPOLATION, Composed, choices_of, compose
from pipelines.workflow.plan import EVERYTHING, KeyedStep, Plan, Selection, key_steps, make_plan
from pipelines.workflow.probe import absolute
from pipelines.workflow.recipe import Step, parse_steps
from pipelines.workflow.store import Store
from pipelines.workflow.survey import survey
from pipelines.workflow.sweep import Union, unite
from pipelines.workflow.watch import Timeouts


class Cluster(Record):
    """``conf/cluster``: where steps run. ``num_cpus`` None means every CPU given, at least 2 (a training gang has two
    workers); ``node_cpus`` are those of one node, None where there is only one. ``num_gpus`` and ``memory`` (bytes) None
    mean what this machine has; ``memory`` 0 is not counted. ``address`` is the dashboard of a cluster that runs already,
    ``python`` the interpreter of its nodes; ``shared_root`` says that they mount the store's folder."""

    backend: Literal["ray", "inprocess"]
    num_cpus: int | None = Field(ge=1)
    node_cpus: int | None = Field(ge=1)
    num_gpus: float | None = Field(ge=0)
    memory: int | None = Field(ge=0)
    object_store_mb: int
    start_timeout_s: float
    stop_wait_s: float
    address: str | None = None
    python: str = "python"
    shared_root: bool = False

    @property
    def room(self) -> Room:
        cpus = max(2, given_cpus()) if self.num_cpus is None else self.num_cpus
        gpus = given_gpus() if self.num_gpus is None else self.num_gpus
        memory = given_memory() if self.memory is None else self.memory
        return Room(cpus, self.node_cpus or cpus, gpus, memory)


class Storage(Record):
    """``conf/storage``: the root of artifacts and runs."""

    root: str = Field(min_length=1)


class Tracking(Record):
    """``conf/tracking``: the mirror of the runs."""

    enabled: bool
    uri: str | None


class Reference(Record):
    """What a recipe says of its own length: wall seconds of its steps as shipped, on two cores that multiply float32
    matrices at ``gflops`` GFLOP/s each."""

    gflops: float = Field(gt=0)
    seconds: dict[str, float]


class Limits(Timeouts):
    """``timeouts`` of every step, and those that single ``steps`` have in place of them."""

    steps: dict[str, Timeouts]

    def of_steps(self) -> dict[str, Timeouts]:
        """By step name, ``""`` for every other step."""
        own = {name: limits.model_dump(exclude_unset=True) for name, limits in self.steps.items()}
        return {"": self, **{name: self.model_copy(update=limits) for name, limits in own.items()}}


class Settings(Record):
    cluster: Cluster
    storage: Storage
    tracking: Tracking
    reference: Reference
    timeouts: Limits


@dataclass(frozen=True)
class Project:
    """Everything one command needs. ``steps`` is empty when no recipe was asked for; ``left_out`` are optional steps that
    nobody gave a source, with what to say to bring them in."""

    composed: Composed
    settings: Settings
    steps: tuple[Step, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipe(self) -> str:
        return self.composed.choices.get("recipe", "")

    @property
    def store(self) -> Store:
        return Store(absolute(self.settings.storage.root, self.composed.folder))

    @property
    def tracking_uri(self) -> str:
        uri = self.settings.tracking.uri or f"sqlite:///{self.store.home / 'mlflow.db'}"
        file = uri.removeprefix("sqlite:///")
        return f"sqlite:///{absolute(file, self.composed.folder)}" if file != uri else uri

    def keyed(self, store: Store, limit: int | None = None) -> tuple[KeyedStep, ...]:
        return key_steps(self.steps, store.cache, limit=limit, origin=self.composed.origin, folder=self.composed.folder)

    def plan(self, store: Store, selection: Selection = EVERYTHING) -> Plan:
        """Probe, read the store, decide. Raises ConfigError when a step is asked for that is left out."""
        return plan_all([self], store, selection)[1]


def plan_all(projects: Sequence[Project], store: Store, selection: Selection) -> tuple[Union, Plan]:
    """One plan for all combinations of a sweep; the ``selection`` names steps as the recipe does. Raises as
    :meth:`Project.plan`."""
    left_out = projects[0].left_out
    for name in left_out.keys() & set(selection.names):
        why = "other steps were, so the sample corpus does not stand in for it"
        do = f"add {left_out[name]}=..., or leave the other sources out"
        raise ConfigError(f"step '{name}' was given no source", why=why, do=do)
    union = unite([item.keyed(store, selection.limit) for item in projects])
    return union, make_plan(union.steps, survey(store, union.steps), selection.renamed(union.named))


def load_project(overrides: Sequence[str], *, recipe: bool = True, folder: Path | None = None) -> Project:
    """Compose and validate, as if typed in ``folder`` (default: the working directory). With ``recipe`` False (status, ui,
    down) the steps are not looked at.

    Raises ConfigError for anything that is wrong with the configuration.
    """
    composed = compose(overrides, folder)
    values = composed.values
    _refuse_secrets(composed)
    settings = _settings(composed)
    steps: tuple[Step, ...] = ()
    left_out: dict[str, str] = {}
    if recipe:
        if composed.choices.get("recipe", "None") == "None":
            known = choices_of("recipe", composed.folders)
            why = f"the recipes are {', '.join(known) or '(none found)'}"
            do = "recipe=data for your own files, recipe=tiny for everything at a size for two cores"
            raise ConfigError("no recipe was given", why=why, do=do)
        if not isinstance(values.get("steps"), dict):
            name, do = composed.choices["recipe"], "its first line must be '# @package _global_', and it needs 'steps:'"
            raise ConfigError(f"recipe '{name}' has no steps", where=f"conf/recipe/{name}.yaml", do=do)
        parsed = parse_steps(values["steps"], STAGES, composed.origin)
        steps = tuple(replace(step, config=step.config.sized(settings.cluster.room)) for step in parsed)
        names = {step.name for step in steps}
        for name, value in values["steps"].items():
            if value.get("optional") and name not in names:  # with the name of the value that would bring it in
                written = INTERPOLATION.fullmatch(str(composed.raw["steps"][name].get("source")))
                left_out[name] = written[1] if written else f"steps.{name}.source"
        for name, own in settings.timeouts.steps.items():
            if name not in values["steps"]:
                where = composed.origin(("timeouts", "steps", name, *own.model_fields_set)[:4])
                raise no_such("timeouts: there is no step", name, values["steps"], listed="the steps are", where=where)
    return Project(composed, settings, steps, left_out)


def _refuse_secrets(composed: Composed) -> None:
    """A configuration is written into artifacts, so it may hold no secret; ``tracking.uri`` is not written anywhere."""
    for path, why in leaks(composed.values):
        if path != ("tracking", "uri"):
            written = composed.origin(path)
            raise ConfigError(
                f"{'.'.join(path)} holds a secret",
                where=COMMAND_LINE if written.startswith(COMMAND_LINE) else written,
                why=f"{why}, and configurations are written into artifacts, logs and MLflow",
                do="let the stage read it from an environment variable instead",
            )


def _settings(composed: Composed) -> Settings:
    try:
        return Settings.model_validate({name: composed.values[name] for name in Settings.model_fields})
    except ValidationError as error:
        item = error.errors()[0]
        what = f"{'.'.join(map(str, item['loc']))} = {item['input']!r} does not fit"
        raise ConfigError(what, where=composed.origin(item["loc"]), why=item["msg"]) from None
