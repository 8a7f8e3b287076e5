"""What the store holds for the keys of a plan: the reading side of planning, a few small files a step."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.workflow import lease
from pipelines.workflow.keys import source_hash
from pipelines.workflow.plan import Facts, KeyedStep
from pipelines.workflow.store import Store


def survey(store: Store, keyed: Sequence[KeyedStep]) -> dict[str, Facts]:
    """Step name -> facts. A committed step costs one small read; only a missing one is compared with its neighbours."""
    return {item.step.name: _look(store, item) for item in keyed}


def _look(store: Store, item: KeyedStep) -> Facts:
    definition = item.step.definition
    record = store.find(definition.name, item.key)
    folder = record.folder if record is not None else store.folder(definition.name, item.step.name, item.key)
    if record is not None:
        return Facts(folder, record, source_hash=source_hash(definition), holder=lease.holder(folder))
    return Facts(
        folder,
        units=store.pending_units(folder, generation=1),
        nearest=tuple(store.records(definition.name)),
        holder=lease.holder(folder),
    )
