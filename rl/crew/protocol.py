"""Who does the work, behind one small interface: in this process (``rl.crew.local``: tests, debugging) or as Ray actors
(``rl.crew.ray``). The controller cannot tell which; handles stand for work that may still be going on elsewhere.
No torch here: the process that runs the loop stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipelines.core.errors import InfraError
from rl.prompts import Chunk
from rl.records import Group, Judgement, LearnReport, PolicyVersion, Rollout
from rl.rewards.verify import Case

T_co = TypeVar("T_co", covariant=True)


class Handle(Protocol[T_co]):
    """Work under way. ``result`` waits for it, with a deadline of its own."""

    def result(self) -> T_co: ...


@dataclass(frozen=True)
class Published:
    """A version ready to be sampled with; ``weights`` is what workers load (a reference where they are remote)."""

    version: PolicyVersion
    weights: Any


@dataclass(frozen=True)
class Rolled:
    """All rollouts of a batch in the order of its chunks. ``tensors`` stays opaque to the controller: the prompts'
    tensors go from worker to learner. ``failures``: prompt uid -> why it could not be rolled (bad data)."""

    rollouts: tuple[Rollout, ...]
    tensors: tuple[Any, ...]
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    replaced: int = 0


class Crew(Protocol):
    """Everything the controller asks for. All waits end: each has a deadline and names what it waited for."""

    def start(self, step: int, checkpoint: Path | None) -> None:
        """Put the learner at the beginning of a seed, or where a checkpoint of it left off."""
        ...

    def publish(self) -> Published: ...

    def roll(self, chunks: Sequence[Chunk], published: Published) -> Handle[Rolled]: ...

    def judge(self, cases: Sequence[Case]) -> list[Judgement]: ...

    def learn(self, groups: Sequence[Group], tensors: Sequence[Any]) -> Handle[LearnReport]: ...

    def save(self, directory: Path) -> None: ...

    def export(self, directory: Path) -> None: ...

    def close(self) -> None: ...


def prove(expected: PolicyVersion, found: PolicyVersion, who: str) -> None:
    """Raise InfraError unless a worker holds exactly the weights that were published."""
    if expected != found:
        raise InfraError(
            f"{who} does not hold the published weights",
            why=f"published step {expected.step} {expected.fingerprint}, held step {found.step} {found.fingerprint}",
            do="the worker is replaced and its prompts are rolled again; if it comes back, check the machine's memory",
        )
