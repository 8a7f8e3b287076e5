"""Where the MLflow runs of a timeline's steps are, as the mirror remembers them beside the artifacts."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pipelines.core.storage import place
from pipelines.tracking import state
from pipelines.workflow.runs import newest_runs
from pipelines.workflow.status import RunStatus

PORT = 5000
"""Where ``cookhouse ui`` shows a database on loopback, unless it is told otherwise."""


def mlflow_links(timeline: RunStatus, uri: str) -> dict[str, str]:
    """Step -> address of its MLflow run, for the steps the store at ``uri`` knows."""
    found = {}
    for row in timeline.steps:
        known = state.load(place(row.folder), uri, f"generation-{row.generation}")
        if known.get("run_id") and known.get("experiment_id"):
            found[row.step] = f"{_server(uri)}/#/experiments/{known['experiment_id']}/runs/{known['run_id']}"
    return found


def runs_table(home: Path, uri: str, port: int = PORT) -> str:
    """The page with the runs of the newest experiment that the store at ``uri`` knows, its server's home when it knows
    none. MLflow's home and the bare page of an experiment open on traces of agents, and there are none."""
    known = (state.load(home / "runs" / run.run_id, uri).get("experiment_id") for run in newest_runs(home))
    experiment = next(filter(None, known), None)
    server = _server(uri, port)
    return f"{server}/#/experiments/{experiment}/runs?workflowType=machine_learning" if experiment else server


def _server(uri: str, port: int = PORT) -> str:
    """The address of the pages, without the password that a server's may hold."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return f"http://127.0.0.1:{port}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
