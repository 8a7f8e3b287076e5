"""What the store holds for the keys of a plan: the reading side of planning, a few small files a step."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.workflow import lease
from pipelines.workflow.keys import source_hash
from pipelines.workflow.plan import Facts, KeyedStep
from pipelines.workflow.store import Listing, Record, Store


def survey(store: Store, keyed: Sequence[KeyedStep]) -> dict[str, Facts]:
    """Step name -> facts. A committed step costs one small read; a missing one is compared with its neighbours, which
    are read once a stage."""
    neighbours: dict[str, tuple[Record, ...]] = {}
    sources: dict[str, str] = {}
    listings: dict[str, Listing] = {}
    found = {}
    for item in keyed:
        definition = item.step.definition
        if definition.dotted not in sources:
            sources[definition.dotted] = source_hash(definition)
        if definition.name not in listings:
            listings[definition.name] = store.listing(definition.name)
        listing = listings[definition.name]
        record = store.find(definition.name, item.key, listing)
        if record is not None:
            found[item.step.name] = Facts(
                record.folder,
                record,
                source_hash=sources[definition.dotted],
                holder=lease.holder(record.folder),
            )
            continue
        if definition.name not in neighbours:
            neighbours[definition.name] = tuple(store.records(definition.name))
        folder = store.folder(definition.name, item.step.shown, item.key, listing)
        found[item.step.name] = Facts(
            folder,
            units=store.pending_units(folder, generation=1),
            nearest=neighbours[definition.name],
            holder=lease.holder(folder),
        )
    return found
