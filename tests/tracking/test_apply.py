"""A real store is brought to what the files say, also one that refuses calls for a while."""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipelines.core.events import EventWriter
from pipelines.tracking import state
from pipelines.tracking.apply import INCOMPLETE, Mirror
from pipelines.tracking.mirror_process import sync
from pipelines.tracking.sink import Sink


class Server:
    """MLflow's own server over the session's store; ``refuses`` decides for each path whether it answers 403."""

    def __init__(self, uri: str) -> None:
        from mlflow.server import app
        from mlflow.server.handlers import initialize_backend_stores
        from werkzeug.serving import make_server

        initialize_backend_stores(uri, default_artifact_root=uri.removeprefix("sqlite:///") + "-artifacts")
        self.app, self.refuses = app, _nothing
        self.server = make_server("127.0.0.1", 0, self.answer, threaded=True)
        self.uri = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, environ: dict[str, Any], start: Any) -> Any:
        if self.refuses(environ["PATH_INFO"]):
            start("403 Forbidden", [("Content-Type", "application/json")])
            return [json.dumps({"error_code": "PERMISSION_DENIED", "message": "not yours"}).encode()]
        return self.app(environ, start)


def _nothing(path: str) -> bool:
    return False


@pytest.fixture(scope="module")
def served(store_uri: str) -> Iterator[Server]:
    server = Server(store_uri)
    yield server
    server.server.shutdown()


@pytest.fixture
def server(served: Server) -> Iterator[Server]:
    yield served
    served.refuses = _nothing


@pytest.mark.parametrize(
    "refuses",
    [
        lambda path: path.endswith("log-batch"),
        lambda path: "log-inputs" in path,
        lambda path: path.endswith("runs/update"),
    ],
)
def test_what_a_store_refuses_is_kept_counted_and_sent_later(
    kitchen, server: Server, refuses: Callable[[str], bool]
) -> None:
    run = uuid.uuid4().hex[:8]
    made = kitchen.train(note=run)
    kitchen.write_run(run, [made], "RUN")
    server.refuses = refuses
    said: list[str] = []
    assert not sync(kitchen.root, run, server.uri, said.append)
    assert len([text for text in said if "PERMISSION_DENIED" in text]) == 1, "one line, whatever the number of calls"
    client = Sink(server.uri).client
    known = state.load(kitchen.root / "runs" / run, server.uri)
    child = state.load(made.root, server.uri, "generation-1")
    assert known["status"] == child["status"] == "RUNNING"
    assert child["missing"] > 0
    for item in (known, child):
        shown = client.get_run(item["run_id"])
        assert shown.info.status == "RUNNING", "it does not look whole"
        if not refuses("log-batch"):
            assert "did not arrive: PERMISSION_DENIED" in shown.data.tags[INCOMPLETE]
    server.refuses = _nothing
    assert sync(kitchen.root, run, server.uri, said.append)
    for item in (known, child):
        shown = client.get_run(item["run_id"])
        assert shown.info.status == "FINISHED"
        assert INCOMPLETE not in shown.data.tags
    shown = client.get_run(child["run_id"])
    assert shown.data.params["note"] == run
    assert shown.data.metrics["train/loss"] == pytest.approx(0.9)
    assert len(client.get_metric_history(child["run_id"], "train/loss")) == 3
    assert [item.dataset.name for item in shown.inputs.dataset_inputs] == ["cards"]


def attempts(kitchen, run: str, *series: tuple[int, list[float]]) -> list[tuple[Any, EventWriter, int, list[float]]]:
    """Attempts at one key: each begins at a step with some losses."""
    folder = kitchen.root / "toy_train" / f"sft-{run}" / "attempts"
    found = []
    for number, (first, losses) in enumerate(series, 1):
        attempt = folder / f"{number}-{run}"
        logs = EventWriter(attempt / "logs" / "events.jsonl")
        (attempt / "attempt.json").write_text(json.dumps({"number": number, "generation": 1}))
        found.append((attempt, logs, first, losses))
    return found


def test_a_resumed_training_does_not_zigzag(kitchen, store_uri) -> None:
    """The steps after the checkpoint are logged twice; the curve is that of the attempt that went on, and what a person
    added by hand stays."""
    run = uuid.uuid4().hex[:8]
    events = kitchen.events(run)
    events.emit("run_started", recipe="toy", overrides=[])
    mirror, runs = Mirror(kitchen.root, [run], store_uri), []
    for attempt, logs, first, losses in attempts(kitchen, run, (0, [9.0, 8.0, 7.0, 6.0]), (2, [5.0, 4.0])):
        events.emit("step_started", step="sft", key=run * 8, attempt_dir=str(attempt))
        for step, loss in enumerate(losses, first):
            logs.metrics(step, {"train/loss": loss})
            mirror.look()
        target = mirror.targets[attempt.parent.parent, "generation-1"]
        runs.append(target.run)
        mirror.store.client.set_tag(target.run, "by_hand", "good")
        target.shown = mirror.store.shown(target.run)
    client = mirror.store.client
    assert [(point.step, point.value) for point in client.get_metric_history(target.run, "train/loss")] == [
        (0, 9.0),
        (1, 8.0),
        (2, 5.0),
        (3, 4.0),
    ]
    assert client.get_run(runs[0]).info.lifecycle_stage == "deleted"
    assert client.get_run(target.run).data.tags["by_hand"] == "good"
    events.emit("run_finished", status="failed")
    mirror.look()
    again = Mirror(kitchen.root, [run], store_uri)
    again.look()
    assert again.targets[attempt.parent.parent, "generation-1"].run == target.run, "not made anew without a reason"


def test_a_training_that_diverged_shows_it(kitchen, store_uri) -> None:
    run = uuid.uuid4().hex[:8]
    events = kitchen.events(run)
    events.emit("run_started", recipe="toy", overrides=[])
    ((attempt, logs, _, _),) = attempts(kitchen, run, (0, []))
    events.emit("step_started", step="sft", key=run * 8, attempt_dir=str(attempt))
    for step, value in enumerate([1.0, math.inf, math.nan]):
        logs.metrics(step, {"train/loss": value})
    mirror = Mirror(kitchen.root, [run], store_uri)
    for _ in range(2):
        mirror.look()
    known = mirror.targets[attempt.parent.parent, "generation-1"].run
    history = mirror.store.client.get_metric_history(known, "train/loss")
    assert [point.step for point in history] == [0, 1, 2]
    assert [math.isnan(point.value) for point in history] == [False, True, True]
    shown = mirror.store.client.get_run(known).data
    assert shown.tags["cookhouse.not_finite"] == "train/loss: 2 from step 1"
    assert math.isnan(shown.metrics["train/loss"])
    assert "cookhouse.git_sha" not in shown.tags, "that of the mirror is none of its business"


def test_a_look_that_finds_nothing_new_asks_the_store_for_nothing(kitchen, server: Server) -> None:
    run = uuid.uuid4().hex[:8]
    events = kitchen.events(run)
    events.emit("run_started", recipe="toy", overrides=[])
    ((attempt, logs, _, _),) = attempts(kitchen, run, (0, []))
    events.emit("step_started", step="sft", key=run * 8, attempt_dir=str(attempt))
    mirror = Mirror(kitchen.root, [run], server.uri)
    mirror.look()
    asked: list[str] = []
    server.refuses = lambda path: bool(asked.append(path))
    mirror.look()
    assert not asked
    for step in range(100):
        logs.metrics(step, {"train/loss": 1.0, "train/lr": 0.1})
    mirror.look()
    assert [path.rpartition("/")[2] for path in asked] == ["log-batch"], "one call for all that came"
