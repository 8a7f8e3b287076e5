"""The only file that imports mlflow: idempotent calls with explicit run ids.

Every call may be made twice with one effect: runs are looked up by tag before they are made, a metric point sent again (same
name, step, time) replaces itself. Errors pass through; ``refusal`` tells one that the store gives an answer by from one by
which it is away. Created experiments keep artifacts beside a SQLite file, never in the working directory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.core.errors import first_line
from pipelines.tracking.desired import Input, Point, Shown

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Environment of the mirror: nothing leaves the machine unasked, and an absent server is noticed in seconds."""
ROWS_A_BATCH = {"metrics": 800, "params": 100, "tags": 100}
"""What MLflow takes in one call: 1000 rows, of which 100 params and 100 tags."""
MOST_CHILDREN = 5000
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Has MLflow's pages open an experiment as training runs with their table and charts, not as traces of an agent."""
REFUSALS = {
    *("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "NOT_FOUND"),
    *("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"),
    *(400, 401, 403, 404),
}


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
            file = self.uri.removeprefix("sqlite:///")  # a server decides for itself
            location = (Path(file).absolute().parent / "mlflow-artifacts").as_uri() if file != self.uri else None
            return str(self.client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS))
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def shown(self, run: str) -> Shown | None:
        """What the store has of a run; None when it does not know it or has it in the bin."""
        from mlflow.exceptions import MlflowException

        try:
            found = self.client.get_run(run)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if found.info.lifecycle_stage != "active":
            return None
        data, inputs = found.data, found.inputs.dataset_inputs if found.inputs else ()
        names = frozenset(str(item.dataset.name) for item in inputs)
        return Shown(dict(data.params), dict(data.tags), dict(data.metrics), names, status=str(found.info.status))

    def statuses(self, experiment: str, tags: Mapping[str, str]) -> set[str]:
        """States of all runs of an experiment that carry these tags."""
        return {str(run.info.status) for run in self._search(experiment, tags, MOST_CHILDREN)}

    def find(self, experiment: str, tags: Mapping[str, str]) -> str | None:
        """The run of an experiment that carries all these tags, or None."""
        return next((str(run.info.run_id) for run in self._search(experiment, tags, 1)), None)

    def _search(self, experiment: str, tags: Mapping[str, str], most: int) -> Sequence[Any]:
        query = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        return self.client.search_runs([experiment], filter_string=query, max_results=most)

    def create(self, experiment: str, name: str, tags: Mapping[str, str], started: float) -> str:
        """A new run in state RUNNING; ``started`` in seconds since the epoch."""
        run = self.client.create_run(experiment, start_time=int(started * 1000), tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def remove(self, run: str) -> None:
        """Into the bin, from where a person may take it out again."""
        self.client.delete_run(run)

    def log(
        self,
        run: str,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Sequence[Point] = (),
    ) -> None:
        """All of it in as few calls as MLflow's limits allow, mostly one."""
        from mlflow.entities import Metric, Param, RunTag

        left: dict[str, Any] = {
            "params": iter([Param(name, value) for name, value in (params or {}).items()]),
            "tags": iter([RunTag(name, value) for name, value in (tags or {}).items()]),
            "metrics": iter([Metric(item.name, item.value, int(item.time * 1000), item.step) for item in metrics]),
        }
        while any((batch := {kind: list(islice(rows, ROWS_A_BATCH[kind])) for kind, rows in left.items()}).values()):
            self.client.log_batch(run, batch["metrics"], batch["params"], batch["tags"])

    def tag(self, run: str, name: str, value: str) -> None:
        """Set a tag; an empty ``value`` takes it away."""
        self.client.set_tag(run, name, value) if value else self.client.delete_tag(run, name)

    def inputs(self, run: str, inputs: Iterable[Input]) -> None:
        """Data the run read. ``search_runs("dataset.name = 'documents'")`` finds the runs that saw it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        rows = []
        for item in inputs:
            where, profile = json.dumps({"uri": item.folder}), json.dumps(item.profile)
            tags = {"mlflow.data.context": item.context, "cookhouse.content_digest": item.digest}
            dataset = Dataset(item.name, item.digest[:32], "local", where, profile=profile)
            rows.append(DatasetInput(dataset, [InputTag(*tag) for tag in tags.items()]))
        self.client.log_inputs(run, datasets=rows)

    def file(self, run: str, path: Path) -> None:
        self.client.log_artifact(run, str(path))

    def state(self, run: str, status: str, ended: float) -> None:
        """RUNNING again, or one of FINISHED, FAILED, KILLED with its end in seconds since the epoch."""
        if status == "RUNNING":
            self.client.update_run(run, status=status)
        else:
            self.client.set_terminated(run, status=status, end_time=int(ended * 1000))


def refusal(error: Exception) -> str:
    """The store's reason when it answered and does not want this call (no right to it, a value it does not take); empty for
    one that is away, locked or overloaded."""
    code = getattr(error, "error_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return f"{code}: {first_line(error)}" if code in REFUSALS else ""
