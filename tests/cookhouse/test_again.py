"""cancel, resume, retry, init."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from commands import command, until

from pipelines.workflow.files import read_json

RUN = ("run", "recipe=toy", "--backend", "inprocess")


def test_resume_takes_overrides_limit_and_selection_again(cookhouse, here) -> None:
    crash = here / "crash"
    crash.write_text("after-1:bug")
    arguments = (*RUN, "--until", "squares", "--limit", "3", f"steps.numbers.crash={crash}", "steps.squares.power=3")
    assert cookhouse(*arguments)[0] == 1
    code, out, err = cookhouse("resume", "--backend", "inprocess")
    assert code == 0
    assert "cookhouse run squares recipe=toy" in err
    assert "total" not in out.partition("next:")[0].replace("time budget", "")
    run = read_json(sorted((here / "artifacts" / "runs").glob("*.json"))[-1])
    plan = json.loads(cookhouse("plan", "recipe=toy", "--limit", "3", "steps.squares.power=3", "--json")[1])
    assert {step["step"]: step["decision"] for step in plan["steps"]} == {
        "numbers": "HIT",
        "squares": "HIT",
        "total": "RUN",
    }
    assert run["limit"] == 3
    code, _, err = cookhouse("resume", run["run_id"], "steps.squares.power=4", "--backend", "inprocess")
    assert code == 0
    assert "power=3" not in err


def test_retry_makes_one_step_and_what_it_needs(cookhouse, here) -> None:
    crash = here / "crash"
    crash.write_text("before-2:bug")
    assert cookhouse(*RUN, f"steps.squares.crash={crash}")[0] == 1
    code, out, _ = cookhouse("retry", "squares", "--backend", "inprocess")
    assert code == 0
    assert "numbers  hit" in out
    assert "squares  ok" in out
    assert cookhouse("retry", "sqares", "--backend", "inprocess")[0] == 2


def test_resume_from_another_directory_is_the_same_run(cookhouse, here, monkeypatch) -> None:
    """Recipe, relative source and relative root are those of the directory where the run was typed."""
    (here / "in").mkdir()
    (here / "in" / "a").write_text("a")
    crash = here / "crash"
    crash.write_text("after-0:bug")
    assert cookhouse(*RUN, "source.documents=in", f"steps.numbers.crash={crash}")[0] == 1
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    code, out, err = cookhouse("resume", "storage.root=../artifacts", "--backend", "inprocess")
    assert code == 0, err
    assert "count 1" in out
    assert not list((here / "other").iterdir()), "nothing was written where it was typed"
    code, out, err = cookhouse("retry", "squares", f"storage.root={here / 'artifacts'}", "--backend", "inprocess")
    assert code == 0, err
    assert "squares  hit" in out


def test_resume_says_what_is_missing(cookhouse, here, monkeypatch) -> None:
    cookhouse(*RUN)
    (here / "conf").rename(here / "kept")
    code, _, err = cookhouse("resume", "--backend", "inprocess")
    assert code == 2
    assert f"where: {here / 'conf'}" in err
    assert "cookhouse run recipe=toy" in err


def test_cancel_stops_a_running_command(cookhouse, here, gate) -> None:
    arguments, environment = command(*RUN, "tracking=none", f"steps.numbers.gate={gate}")
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: list(here.glob("artifacts/toy_numbers/*/attempts/*/units/u1.json")), process)
    assert cookhouse("cancel", "nmbers")[0] == 2
    code, _, err = cookhouse("cancel", "--timeout", "0")
    assert code == 4, "a stage in the command's own process is not interrupted by a wish"
    assert "was asked to stop" in err
    os.kill(process.pid, signal.SIGINT)
    process.communicate()
    code, out, _ = cookhouse("cancel")
    assert code == 0
    assert "has ended; nothing to stop" in out


def test_init_copies_a_recipe_that_works(cookhouse, here) -> None:
    code, out, _ = cookhouse("init", "ours")
    assert code == 0
    assert "cookhouse plan recipe=ours" in out
    assert "cookhouse run recipe=ours source.documents" in (here / "conf/recipe/ours.yaml").read_text()
    assert "recipe=ours: 3 steps are right" in cookhouse("config", "validate", "recipe=ours")[1]
    code, _, err = cookhouse("init", "ours")
    assert code == 2
    assert "exists" in err
    assert "did you mean 'tiny'?" in cookhouse("init", "x", "--from", "tnyi")[2]
    assert cookhouse("init", "Not A Name")[0] == 2
    assert cookhouse("init", "small", "--from", "toy")[0] == 0


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_step_of_a_recipe_of_ones_own_is_found(name, cookhouse, here) -> None:
    cookhouse("init", name, "--from", "toy")
    assert f"conf/recipe/{name}.yaml:6" in cookhouse("config", "show", f"recipe={name}")[1]
