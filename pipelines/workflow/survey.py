"""What the store holds for the keys of a plan: the reading side of planning, a few small files a step."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from pipelines.workflow import lease
from pipelines.workflow.keys import source_hash
from pipelines.workflow.plan import Facts, KeyedStep
from pipelines.workflow.store import Store


def survey(store: Store, keyed: Sequence[KeyedStep]) -> dict[str, Facts]:
    """Step name -> facts. A committed step costs one small read; a missing one is compared with its neighbours, which
    are read once a stage."""
    definitions = {item.step.definition.dotted: item.step.definition for item in keyed}
    sources = {dotted: source_hash(definition) for dotted, definition in definitions.items()}
    listings = {name: store.listing(name) for name in {definition.name for definition in definitions.values()}}
    neighbours = functools.cache(lambda stage: tuple(store.records(stage)))
    found = {}
    for item in keyed:
        stage, listing = item.step.definition.name, listings[item.step.definition.name]
        record = store.find(stage, item.key, listing)
        folder = record.folder if record else store.folder(stage, item.step.shown, item.key, listing)
        units, nearest = (0, ()) if record else (store.pending_units(folder, generation=1), neighbours(stage))
        hashed = sources[item.step.definition.dotted]
        found[item.step.name] = Facts(folder, record, units, nearest, lease.holder(folder), hashed)
    return found
