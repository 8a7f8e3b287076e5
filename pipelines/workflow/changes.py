"""What a rebuilt result holds that the generation before it did not: for steps that promise the same bytes twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.workflow.artifact import Artifact
from pipelines.workflow.store import Record, read_record


@dataclass(frozen=True)
class Changes:
    """``names`` of what is other, new or gone, sorted; ``of`` so many ``things`` (files, or samples) there are now;
    ``before`` is the generation compared with."""

    things: str
    names: tuple[str, ...]
    of: int
    before: int = 0


Differ = Callable[[Artifact, Artifact], Changes]


def changed_files(before: Artifact, after: Artifact) -> Changes:
    """Files by their logical names, compared by sha256. Raises DataError when a manifest is gone."""
    old, new = before.sha256, after.sha256
    names = (name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return Changes("files", tuple(sorted(names)), len(new))


def broken_promise(record: Record, differ: Differ) -> Changes | None:
    """What of a record is other than in the generation before it; None when it promises no bytes, when there is none
    before it, or when all is equal. Raises DataError when files of the earlier one are gone."""
    promised = record.data["deterministic"] == "bytes"
    before = read_record(record.folder, below=record.generation) if promised else None
    if before is None or before.content_digest == record.content_digest:
        return None
    found = differ(before.open(record.step), record.open(record.step))
    return Changes(found.things, found.names, found.of, before.generation) if found.names else None
