"""Where the MLflow runs of a timeline's steps are, as the mirror remembers them beside the artifacts."""

from __future__ import annotations

from pipelines.core.places import place
from pipelines.tracking import state
from pipelines.workflow.timeline import Timeline

LOCAL = "http://127.0.0.1:5000"
"""Where ``cookhouse ui`` opens a database file."""


def mlflow_links(timeline: Timeline, uri: str) -> dict[str, str]:
    """Step -> address of its MLflow run, for the steps the store at ``uri`` knows."""
    server = uri.rstrip("/") if uri.startswith(("http://", "https://")) else LOCAL
    found = {}
    for row in timeline.rows:
        known = state.load(place(row.folder), uri, f"generation-{row.generation}")
        if known.get("run_id") and known.get("experiment_id"):
            found[row.step] = f"{server}/#/experiments/{known['experiment_id']}/runs/{known['run_id']}"
    return found
