"""A sweep through the command line: shared steps once, failures alone, resumed, comparable in MLflow."""

from __future__ import annotations

import json
from pathlib import Path

from cookhouse.cli.main import main

SWEEP = ("sweep", "recipe=toy", "--backend", "inprocess", "tracking=none")


def commits(here: Path) -> dict[str, int]:
    return {
        stage: len(list((here / "artifacts").glob(f"toy_{stage}/*/artifact*.json")))
        for stage in ("numbers", "squares", "total")
    }


def test_shared_steps_are_made_once(cookhouse, here) -> None:
    code, out, err = cookhouse(*SWEEP, "steps.squares.power=2,3", "steps.total.bias=0,10")
    assert code == 0
    assert commits(here) == {"numbers": 1, "squares": 2, "total": 4}
    assert "7 steps made for 12 of 4 combinations" in out
    lines = [line for line in out.splitlines() if "steps.squares.power=" in line]
    assert [line.split()[-1] for line in lines] == ["20", "30", "42", "52"]
    assert "squares.2  ok" in err.replace("squares.2   ", "squares.2  ")
    code, out, err = cookhouse(*SWEEP, "steps.squares.power=2,3", "steps.total.bias=0,10")
    assert code == 0
    assert "is known: what it made is reused" in err
    assert "0 steps made" in out
    assert commits(here) == {"numbers": 1, "squares": 2, "total": 4}
    runs = [json.loads(path.read_text()) for path in (here / "artifacts" / "runs").glob("*.json")]
    assert len(runs) == 8
    assert all([step["step"] for step in run["steps"]] == ["numbers", "squares", "total"] for run in runs)
    code, out, _ = cookhouse("status", "--json", "--run", runs[0]["run_id"])
    assert {step["state"] for step in json.loads(out)["steps"]} == {"done"}
    record = json.loads(next((here / "artifacts").glob("toy_total/*/artifact.json")).read_text())
    assert record["step"] == "total"
    assert {row["step"] for row in record["inputs"]["terms"]} == {"numbers", "squares"}
    assert cookhouse("plan", "recipe=toy", "steps.squares.power=3", "--detailed-exitcode")[0] == 0


def test_a_failed_combination_stops_no_other_and_the_sweep_goes_on(cookhouse, here) -> None:
    crash = here / "crash"
    crash.write_text("after-1:bug")
    arguments = (*SWEEP, "--each", f"steps.squares.crash={crash}", "--each", "steps.squares.power=3")
    code, out, err = cookhouse(*arguments)
    assert code == 1
    assert "ZeroDivisionError" in err
    assert commits(here) == {"numbers": 1, "squares": 1, "total": 1}
    assert "failed" in out
    resume = next(line for line in out.splitlines() if "--resume" in line).split()[1:]
    code, out, _ = cookhouse(*resume, "--backend", "inprocess")
    assert code == 0
    assert "2 steps made" in out
    assert commits(here) == {"numbers": 1, "squares": 2, "total": 2}


def test_the_plan_of_the_union_and_wrong_input(cookhouse, here) -> None:
    code, out, _ = cookhouse(*SWEEP, "--dry-run", "steps.squares.power=2,3")
    assert code == 0
    assert "2 combinations, 6 steps, 5 different ones" in out
    assert not list((here / "artifacts").glob("toy_*"))
    code, _, err = cookhouse(*SWEEP, "steps.squares.power=2")
    assert code == 2
    assert "one combination only" in err
    code, _, err = cookhouse(*SWEEP, "steps.squares.pwoer=2,3")
    assert code == 2
    assert "did you mean 'power'?" in err
    assert "cookhouse sweep" in cookhouse("run", "recipe=toy", "steps.squares.power=2,3")[2]
    assert cookhouse("sweep", "--resume", "toy-nothing")[0] == 2
    out = cookhouse(*SWEEP, "steps.squares.power=2,3", "--until", "squares")[1]
    assert "3 steps made" in out


def test_multirun_as_hydra_users_type_it(cookhouse, here) -> None:
    words = ("recipe=toy", "--backend", "inprocess", "steps.squares.power=2,3")
    code, out, _ = cookhouse("run", "-m", *words)
    assert code == 0
    assert "5 steps made for 6 of 2 combinations" in out
    code, out, _ = cookhouse("-m", "tracking=none", *words)
    assert code == 0
    assert "0 steps made" in out


def test_one_parent_in_mlflow_with_a_child_a_combination(here, capsys, monkeypatch) -> None:
    """The real mirror and a real SQLite store; a second command adds no child."""
    monkeypatch.setattr("cookhouse.session.MIRROR_WAIT_S", 250.0)  # until everything is delivered
    from mlflow.tracking import MlflowClient

    words = ("sweep", "recipe=toy", "--backend", "inprocess", "steps.squares.power=2,3", "-q")
    assert main(list(words)) == 0
    assert main(list(words)) == 0
    client = MlflowClient(f"sqlite:///{here / 'artifacts' / 'mlflow.db'}")
    (experiment,) = [item for item in client.search_experiments() if item.name == "cookhouse/toy"]
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    level = {"sweep": [], "combination": [], "step": []}
    for run in runs:
        level[run.data.tags["cookhouse.level"]].append(run)
    assert {name: len(found) for name, found in level.items()} == {"sweep": 1, "combination": 2, "step": 5}
    (parent,) = level["sweep"]
    for run in (*level["combination"], *level["step"]):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_power = {run.data.params["squares.power"]: run.data.metrics["total/total"] for run in level["combination"]}
    assert by_power == {"2": 20.0, "3": 42.0}
    assert {run.info.run_name for run in level["combination"]} == {"toy-squares.power=2", "toy-squares.power=3"}
