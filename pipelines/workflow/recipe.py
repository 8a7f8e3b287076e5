"""A recipe is named steps; edges are their inputs. Everything a person can mistype is found here, before anything
starts.

steps:
  corpus:    {stage: sample_corpus}
  documents: {stage: documents, inputs: {sources: corpus}, views_per_page: 2}
  pretrain:  {stage: pretrain, inputs: {shards: [documents, videos]}, steps: 200}
  clean:     {stage: "my_stages:clean", inputs: {shards: documents}}         # a stage of your own
  videos:    {stage: videos, inputs: {sources: corpus}, source: ${source.videos}, optional: true}

An ``optional`` step is left out when it was given no source of its own and another step was.
"""

from __future__ import annotations

import heapq
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import BaseModel, ValidationError

from pipelines.core.errors import ConfigError, did_you_mean, no_such
from pipelines.core.identity import StageConfig
from pipelines.workflow.stage import StageDef, load_stage

Origin = Callable[[Sequence[str | int]], str]
"""Path of a value (``("steps", "documents", "views_per_page")``) -> ``conf/recipe/tiny.yaml:12`` or ``command
line``."""

STEP_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


@dataclass(frozen=True)
class Step:
    """One use of a stage: its name, typed configuration and inputs (port -> step names in order). ``label`` is what the
    recipe calls it where a plan had to give it another name: a sweep knows several ``sft``. ``optional``: see above."""

    name: str
    definition: StageDef
    config: StageConfig
    inputs: Mapping[str, tuple[str, ...]]
    label: str = ""
    optional: bool = False

    @property
    def shown(self) -> str:
        return self.label or self.name

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for names in self.inputs.values() for name in names))

    @property
    def given(self) -> set[str]:
        return {port for name, port in self.definition.replaces.items() if getattr(self.config, name) is not None}


def parse_steps(raw: Mapping[str, Any], registry: Mapping[str, str], origin: Origin) -> tuple[Step, ...]:
    """Typed steps in an order in which every step comes after its inputs (else in the order of the recipe). A step whose
    every reader was given a source of its own instead is left out, and so are optional steps without a source that nobody
    reads when another step has one.

    Raises ConfigError for an unknown stage, port, step or field, a wrong value, a missing input or a cycle.
    """
    for name, value in raw.items():
        if not isinstance(value, Mapping) or "stage" not in value:
            others = [other for other in raw if isinstance(raw[other], Mapping) and "stage" in raw[other]]
            where = origin(("steps", name, *(list(value)[:1] if isinstance(value, Mapping) else ())))
            why = "a step needs at least 'stage: <name of a stage>'"
            raise no_such("this recipe has no step", name, others, listed="the steps are", where=where, why=why)
        if not STEP_NAME.fullmatch(name):
            raise ConfigError(f"'{name}' is no step name", where=origin(("steps", name)), why="use a-z, 0-9 and _")
    steps = {name: _Reading(name, origin).step(value, raw, registry) for name, value in raw.items()}
    try:
        return tuple(_in_order(_without_replaced(steps)))
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise ConfigError("the steps form a circle", why=circle, do="remove one of these inputs") from None


def _without_replaced(steps: Mapping[str, Step]) -> dict[str, Step]:
    """The steps without the inputs that a given source replaces, without the optional ones that got none, and without the
    steps that only fed those."""
    kept, fed = {}, set()
    read = {parent for step in steps.values() for parent in step.parents}
    given = {name: ports for name, step in steps.items() if (ports := step.given)}
    for name, step in steps.items():
        if given and step.optional and name not in given and name not in read:
            fed |= set(step.parents)
        elif name in given:
            fed |= {parent for port in given[name] for parent in step.inputs.get(port, ())}
            inputs = {port: parents for port, parents in step.inputs.items() if port not in given[name]}
            kept[name] = replace(step, inputs=inputs)
        else:
            kept[name] = step
    while idle := fed & kept.keys() - {parent for step in kept.values() for parent in step.parents}:
        for name in idle:
            fed |= set(kept.pop(name).parents)
    return kept


def _in_order(steps: Mapping[str, Step]) -> Iterator[Step]:
    """The steps in a topological order that keeps the recipe's own order wherever it can. Raises CycleError."""
    place = {name: index for index, name in enumerate(steps)}
    sorter = TopologicalSorter({name: step.parents for name, step in steps.items()})
    sorter.prepare()
    ready: list[tuple[int, str]] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, (place[name], name))
        _, name = heapq.heappop(ready)
        yield steps[name]
        sorter.done(name)


@dataclass(frozen=True)
class _Reading:
    """Reads what a recipe says of the step ``name``."""

    name: str
    origin: Origin

    def where(self, *path: str | int) -> str:
        return self.origin(("steps", self.name, *path))

    def step(self, raw: Mapping[str, Any], names: Collection[str], registry: Mapping[str, str]) -> Step:
        stage = raw["stage"]
        dotted = registry.get(stage, stage if ":" in str(stage) else None)
        if dotted is None:
            listed = "a stage of your own is written module:function; the stages are"
            raise no_such("there is no stage", str(stage), registry, listed=listed, where=self.where("stage"))
        try:
            definition = load_stage(dotted)
        except (ImportError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"stage '{stage}' cannot be loaded",
                where=self.where("stage"),
                why=f"{dotted}: {error}",
                do="a stage of your own must be importable (PYTHONPATH) and carry @stage",
            ) from error
        inputs = self.inputs(definition, raw.get("inputs") or {}, names)
        optional = raw.get("optional", False)
        if not isinstance(optional, bool):
            what = f"steps.{self.name}.optional = {optional!r} does not fit"
            raise ConfigError(what, where=self.where("optional"), do="true or false")
        fields = {key: value for key, value in raw.items() if key not in ("stage", "inputs", "optional")}
        try:
            config = definition.config.model_validate(fields)
        except ValidationError as error:
            raise self.translated(error, definition) from None
        for path, what, do in config.misfits(inputs):
            raise ConfigError(f"step '{self.name}': {what}", where=self.where(*path), do=do)
        return Step(self.name, definition, config, inputs, optional=optional)

    def inputs(self, definition: StageDef, raw: Any, names: Collection[str]) -> dict[str, tuple[str, ...]]:
        if not isinstance(raw, Mapping):
            do = f"write inputs: {{{definition.ports[0] if definition.ports else 'port'}: step}}"
            raise ConfigError(f"the inputs of step '{self.name}' are no mapping", where=self.where("inputs"), do=do)
        inputs = {}
        for port, value in raw.items():
            where = self.where("inputs", port)
            if port not in definition.ports:
                what = f"stage '{definition.name}' has no input"
                raise no_such(what, port, definition.ports, listed="its inputs are", where=where)
            parents = tuple(value) if isinstance(value, list | tuple) else (value,) if value is not None else ()
            for parent in parents:
                if parent not in names:
                    what = f"input '{port}' of step '{self.name}' names a step that does not exist:"
                    raise no_such(what, str(parent), names, listed="the steps are", where=where)
            inputs[port] = parents
        for port in definition.inputs:
            if not inputs.get(port):
                do = f"write inputs: {{{port}: <name of a step>}}"
                raise ConfigError(f"step '{self.name}' lacks its input '{port}'", where=self.where(), do=do)
        return inputs

    def translated(self, error: ValidationError, definition: StageDef) -> ConfigError:
        """One message for everything pydantic found in one step."""
        found = [self._explained(item, definition) for item in error.errors()]
        if len(found) == 1:
            return found[0]
        rows = [" ".join(filter(None, (e.what, f"({e.where})" if e.where else "", e.why, e.do))) for e in found]
        return ConfigError(f"step '{self.name}' has {len(rows)} wrong values", why="\n       ".join(rows))

    def _explained(self, item: Any, definition: StageDef) -> ConfigError:
        location = [part for part in item["loc"] if not (isinstance(part, str) and ("[" in part or "(" in part))]
        path = ".".join(str(part) for part in location)
        where, who = self.where(*location), f"step '{self.name}' (stage {definition.name})"
        if item["type"] == "extra_forbidden":
            known = fields_at(definition.config, location[:-1])
            do = did_you_mean(str(location[-1]), known) or f"the fields are {', '.join(known)}"
            return ConfigError(f"{who} has no field '{path}'", where=where, do=do)
        if item["type"] == "missing":
            do = f"give steps.{self.name}.{path}=..."
            return ConfigError(f"{who} needs a value for '{path}'", where=where, do=do)
        what = f"steps.{self.name}.{path} = {item['input']!r} does not fit"
        return ConfigError(what, where=where, why=item["msg"])


def fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    models: list[type[BaseModel]] = [model]
    for part in location:
        fields = [m.model_fields[part] for m in models if isinstance(part, str) and part in m.model_fields]
        models = [inner for field in fields for inner in _models_in(field.annotation)] or models
    return sorted({name for m in models for name in m.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for item in typing.get_args(annotation) for model in _models_in(item)]
