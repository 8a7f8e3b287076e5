"""Who does the work, behind one small interface: in this process (``rl.crew.local``: tests, debugging) or as Ray actors
(``rl.crew.ray``). The controller cannot tell which. No torch here: the process that runs the loop stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.executor import Executor
from rl.prompts import Chunk
from rl.records import Group, Judgement, LearnReport, PolicyVersion, Rollout
from rl.rewards.verify import Case
from rl.settings import ReinforceConfig


@dataclass(frozen=True)
class Published:
    """A version ready to be sampled with; ``weights`` is what workers load (a reference where they are remote)."""

    version: PolicyVersion
    weights: Any


@dataclass(frozen=True)
class Rolled:
    """The rollouts of one chunk. ``failures``: prompt uid -> why it could not be rolled (bad data)."""

    rollouts: tuple[Rollout, ...]
    failures: dict[str, str]


class Crew(Protocol):
    """Everything the controller asks for. All waits end: each has a deadline and names what it waited for."""

    @property
    def replaced(self) -> int:
        """Rollout workers that had to be replaced so far."""

    def start(self, step: int, checkpoint: Path | None) -> None:
        """Put the learner at the beginning of a seed, or where a checkpoint of it left off."""

    def publish(self) -> Published: ...

    def submit(self, chunks: Sequence[Chunk], published: Published) -> None:
        """Have the chunks rolled, with exactly these weights."""

    def collect(self) -> tuple[Rolled, Any]:
        """Wait for one of the submitted chunks, whichever is done first, and the handle of its prompts' tensors."""

    def judge(self, cases: Sequence[Case]) -> list[Judgement]: ...

    def learn(self, groups: Sequence[Group]) -> Callable[[], LearnReport]:
        """Begin an update; what comes back waits for it."""

    def save(self, directory: Path) -> None: ...

    def export(self, directory: Path) -> None: ...

    def close(self) -> None: ...


def crew_of(executor: Executor, model_dir: Path, config: ReinforceConfig) -> Crew:
    """Actors where the step's executor sends work away, else this process: the executor decides, never what else this
    process may be connected to."""
    if executor.distributed:
        from rl.crew.ray import RayCrew

        return RayCrew(model_dir, config)
    from rl.crew.local import LocalCrew

    return LocalCrew(model_dir, config)
