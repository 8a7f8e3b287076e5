"""Where an attempt runs, behind five verbs: submit, status, logs, cancel, describe.

``inprocess`` runs it in the calling process, ``ray_jobs`` as a Ray job on a local Ray that ``local_ray`` starts and
ends. A backend says only whether a process lives; what it achieved stands in the attempt's folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from pipelines.core.storage import Place
from pipelines.core.trail import Trail
from pipelines.workflow.execute import Spec


class JobState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"
    """The backend does not know the job (another Ray was started since)."""

    @property
    def live(self) -> bool:
        return self in (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True)
class Handle:
    """A submitted attempt: the name the backend knows it by, and its folder."""

    submission: str
    attempt: Place

    @property
    def log(self) -> Place:
        """What the job printed; the job writes it itself, so it survives the driver and the cluster."""
        return self.attempt / "logs" / "job.log"

    def printed(self) -> str:
        """What is in that log by now, from wherever the store keeps it; empty when nothing is."""
        return Trail(self.log).new().decode(errors="replace")


class Backend(Protocol):
    name: str

    def submit(self, spec: Spec, submission: str) -> Handle:
        """Start an attempt. Submitting a name again attaches to it. Raises InfraError when nothing can be started."""

    def status(self, handle: Handle) -> JobState: ...

    def logs(self, handle: Handle) -> str:
        """What was printed so far, including what the backend says about a job that never got to print."""

    def cancel(self, handle: Handle) -> None:
        """Ask the job to stop; it may take a moment until ``status`` says so."""

    def describe(self) -> dict[str, Any]:
        """Where work goes (name, address), once it can be taken: waits for a cluster that is still coming up. Raises
        InfraError when it does not."""

    def close(self) -> None:
        """Give back what this command started."""
