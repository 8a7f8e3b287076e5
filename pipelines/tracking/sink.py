"""The only file that imports mlflow: idempotent calls with explicit run ids.

Every call may be made twice with one effect: runs are looked up by tag before they are made, params are written once,
a metric point sent again (same name, step, time) replaces itself. Errors pass through; ``is_permanent`` tells the
caller whether trying again can help. Created experiments keep artifacts beside a SQLite file, never in the working
directory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.tracking.describe import MAX_TAG

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Environment of the mirror: nothing leaves the machine unasked, and an absent server is noticed in seconds."""
METRICS_A_BATCH, PARAMS_A_BATCH = 900, 90
MOST_CHILDREN = 5000


@dataclass(frozen=True)
class Point:
    """One value of a metric: ``time`` in seconds since the epoch, ``step`` an optimizer or RL step."""

    name: str
    value: float
    time: float
    step: int = 0


@dataclass(frozen=True)
class Input:
    """A data artifact a step read; ``digest`` is the full sha256 of its content (MLflow keeps 32 digits and a tag)."""

    name: str
    digest: str
    folder: str
    context: str
    profile: Mapping[str, Any]


EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Has MLflow's pages open an experiment as training runs with their table and charts, not as traces of an agent."""


class Sink:
    """A tracking store. The constructor connects, and for a new SQLite file makes its tables (seconds)."""

    def __init__(self, uri: str) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri)
        self.client.search_experiments(max_results=1)

    def experiment(self, name: str) -> str:
        """Id of the experiment, made or taken out of the bin when needed."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            location = _artifact_location(self.uri)
            return str(self.client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS))
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def alive(self, run: str) -> bool:
        """Whether the store has this run and it is not deleted."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.get_run(run).info.lifecycle_stage) == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def statuses(self, experiment: str, tags: Mapping[str, str]) -> set[str]:
        """States of all runs of an experiment that carry these tags."""
        runs = self.client.search_runs([experiment], filter_string=_query(tags), max_results=MOST_CHILDREN)
        return {str(run.info.status) for run in runs}

    def find(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        """The run of an experiment that carries all these tags, or None."""
        runs = self.client.search_runs([experiment], filter_string=_query(tags), max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def create(self, experiment: str, name: str, tags: Mapping[str, str], started: float) -> str:
        """A new run in state RUNNING; ``started`` in seconds since the epoch."""
        run = self.client.create_run(experiment, start_time=int(started * 1000), tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def tags(self, run: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        rows = [RunTag(name, str(value)[:MAX_TAG]) for name, value in tags.items()]
        for start in range(0, len(rows), PARAMS_A_BATCH):
            self.client.log_batch(run, tags=rows[start : start + PARAMS_A_BATCH])

    def params(self, run: str, params: Mapping[str, str]) -> None:
        """Log what is new. A param that is there already stays: params are write-once, and the key is the same."""
        from mlflow.entities import Param

        known = self.client.get_run(run).data.params
        rows = [Param(name, value) for name, value in params.items() if name not in known]
        for start in range(0, len(rows), PARAMS_A_BATCH):
            self.client.log_batch(run, params=rows[start : start + PARAMS_A_BATCH])

    def metrics(self, run: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        rows = [Metric(point.name, point.value, int(point.time * 1000), point.step) for point in points]
        for start in range(0, len(rows), METRICS_A_BATCH):
            self.client.log_batch(run, metrics=rows[start : start + METRICS_A_BATCH])

    def inputs(self, run: str, inputs: Iterable[Input]) -> None:
        """Data the run read. ``search_runs("dataset.name = 'documents'")`` finds the runs that saw it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        rows = [
            DatasetInput(
                Dataset(
                    item.name,
                    item.digest[:32],
                    "local",
                    json.dumps({"uri": item.folder}),
                    profile=json.dumps(item.profile),
                ),
                [InputTag("mlflow.data.context", item.context), InputTag("cookhouse.content_digest", item.digest)],
            )
            for item in inputs
        ]
        if rows:
            self.client.log_inputs(run, datasets=rows)

    def file(self, run: str, path: Path) -> None:
        self.client.log_artifact(run, str(path))

    def state(self, run: str, status: str, ended: float | None = None) -> None:
        """RUNNING again, or one of FINISHED, FAILED, KILLED with its end in seconds since the epoch."""
        if status == "RUNNING":
            self.client.update_run(run, status=status)
        else:
            self.client.set_terminated(run, status=status, end_time=int(ended * 1000) if ended else None)


def _query(tags: Mapping[str, str]) -> str:
    return " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())


def is_permanent(error: Exception) -> bool:
    """Whether the same call will fail again: a value the store refuses, a mistake of ours. A store that is away,
    locked or overloaded is not permanent."""
    code = getattr(error, "error_code", None)
    if code is not None:
        return code in (
            "INVALID_PARAMETER_VALUE",
            "RESOURCE_DOES_NOT_EXIST",
            "RESOURCE_ALREADY_EXISTS",
            "PERMISSION_DENIED",
        )
    return isinstance(error, LookupError | TypeError | ValueError | AttributeError)


def _artifact_location(uri: str) -> str | None:
    """Beside a SQLite file; a server decides for itself."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlflow-artifacts").as_uri()
