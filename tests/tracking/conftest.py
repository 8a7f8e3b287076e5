"""One real SQLite store a session, and a small kitchen that makes real artifacts and the events of pipeline runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stage_runs import run_stage_inprocess

from pipelines.core.events import EventWriter
from pipelines.core.identity import Identity, StageConfig
from pipelines.workflow.artifact import Artifact
from pipelines.workflow.stage import Inputs, stage


class Data(StageConfig):
    samples: Identity[int] = 3


class Train(StageConfig):
    lr: Identity[float] = 0.1
    note: Identity[str] = ""
    fail: Identity[bool] = False


@stage("toy_data", code_version=1, deterministic="bytes")
def make_data(config: Data, inputs: Inputs, out: Any) -> dict[str, Any]:
    (out.dir / "shards").mkdir()
    (out.dir / "shards" / "a.tar").write_bytes(b"x" * config.samples)
    return {"samples": config.samples, "main_metric": ["samples", config.samples]}


@stage("toy_train", code_version=1, inputs=("shards",), deterministic="numbers")
def train(config: Train, inputs: Inputs, out: Any) -> dict[str, Any]:
    for step in range(3):
        out.events.metrics(step, {"train/loss": 3.0 - step - config.lr})
    if config.fail:
        raise ValueError("the pan caught fire")
    (out.dir / "report.html").write_text("<p>fine</p>")
    return {"samples": 3, "main_metric": ["loss", 1.0 - config.lr], "metrics": {"eval/cer": 0.5}}


@dataclass
class Kitchen:
    """A store root and a way to write the events a driver writes."""

    root: Path

    def data(self) -> Artifact:
        return run_stage_inprocess(make_data, Data(), {}, self.root, step="cards")

    def train(self, **fields: Any) -> Artifact:
        return run_stage_inprocess(train, Train(**fields), {"shards": self.data()}, self.root, step="sft")

    def events(self, run: str) -> EventWriter:
        return EventWriter(self.root / "runs" / run / "events.jsonl")

    def record(self, artifact: Artifact) -> dict[str, Any]:
        return json.loads((artifact.root / "artifact.json").read_text())

    def write_run(self, run: str, artifacts: list[Artifact], decision: str, end: str | None = "ok") -> None:
        """The events of a whole pipeline run over committed artifacts: all made by it, or all hits."""
        events = self.events(run)
        events.emit("run_started", recipe="toy", overrides=["recipe=toy", "steps.sft.lr=0.1"])
        for item in artifacts:
            events.emit("step_planned", step=item.step, stage=item.stage, key=item.key, decision=decision)
        for item in artifacts:
            made = item.root / "attempts" / self.record(item)["attempt"]
            if decision == "RUN":
                events.emit("step_started", step=item.step, key=item.key, attempt_dir=str(made))
            commit = str(item.root / "artifact.json")
            status = "ok" if decision == "RUN" else "hit"
            events.emit("step_finished", step=item.step, key=item.key, status=status, artifact_json=commit, seconds=0.1)
        if end:
            events.emit("run_finished", status=end)
        events.close()


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path / "store")


@pytest.fixture(scope="session")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A migrated SQLite store (about 5 s once: importing mlflow and making its tables)."""
    pytest.importorskip("mlflow")
    from pipelines.tracking.sink import Sink

    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    Sink(uri)
    return uri
