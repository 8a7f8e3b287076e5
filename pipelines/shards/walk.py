"""Samples in the order of their shards, with a rule for damaged ones: what a stage that reads everything uses.

``read.stream`` walks one tar without an index (``webdataset``) and ends at the first damage. A walk knows every address,
so a damaged sample costs itself only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pipelines.core.errors import DataError
from pipelines.shards.index import SampleRef
from pipelines.shards.read import read_sample

OnError = Literal["fail", "skip"]


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be read, and why."""

    ref: SampleRef
    reason: str


@dataclass
class Walk:
    """Iterate it for (ref, parts). With ``on_error="skip"`` a damaged sample becomes a row of ``skipped``, unless their
    share of all samples passes ``most``; with ``"fail"`` the first one raises DataError."""

    refs: Iterable[SampleRef]
    on_error: OnError = "fail"
    most: float = 0.02
    skipped: list[Skipped] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[SampleRef, dict[str, bytes]]]:
        ordered = sorted(self.refs, key=lambda ref: (ref.shard, ref.offset))
        self.skipped.clear()
        for ref in ordered:
            try:
                parts = read_sample(ref)
            except DataError as error:
                if self.on_error == "fail":
                    raise
                self.skipped.append(Skipped(ref, error.what))
                if len(self.skipped) > self.most * len(ordered):
                    raise DataError(
                        f"{len(self.skipped)} of {len(ordered)} samples cannot be read, above {self.most:.0%}",
                        where=ref.shard,
                        why=f"the last one, {ref.key!r}: {error.what}",
                        do="run `cookhouse shards verify` and restore the shards, or raise the limit",
                    ) from error
                continue
            yield ref, parts
